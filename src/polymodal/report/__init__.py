"""Tables, plots and one self-contained page from a run folder or from scores."""

from polymodal.report.page import write_report
from polymodal.report.plots import comparison_plot
from polymodal.report.rows import score_rows
from polymodal.report.tables import leaderboard, to_csv, to_latex, to_markdown

__all__ = ["comparison_plot", "leaderboard", "score_rows", "to_csv", "to_latex", "to_markdown", "write_report"]
