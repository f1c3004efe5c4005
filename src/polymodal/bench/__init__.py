"""Methods x corpora x absence and noise x seeds: one leaderboard."""

from polymodal.bench.board import Board
from polymodal.bench.plan import BenchPlan, Conditions, EntryPlan, Search
from polymodal.bench.read import read_plan
from polymodal.bench.run import bench

__all__ = ["BenchPlan", "Board", "Conditions", "EntryPlan", "Search", "bench", "read_plan"]
