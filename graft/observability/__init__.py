"""What a member tells about itself to programs: pages over HTTP, and numbers in Prometheus' text format."""

from graft.observability.metrics import CONTENT_TYPE, Metric, Sample, render
from graft.observability.pages import Answer, Page, open_pages

__all__ = ["CONTENT_TYPE", "Answer", "Metric", "Page", "Sample", "open_pages", "render"]
