"""Methods x corpora x absence and noise x seeds: one leaderboard."""

from polymodal.bench.board import Board
from polymodal.bench.plan import BenchPlan, EntryPlan, Search, read_plan
from polymodal.bench.run import bench

__all__ = ["BenchPlan", "Board", "EntryPlan", "Search", "bench", "read_plan"]
