"""The steps of the weather flow: plain functions over JSON values."""

from __future__ import annotations

import csv
import socket
from collections.abc import Iterable
from datetime import date, timedelta
from itertools import groupby
from pathlib import Path
from typing import TypedDict

from plot import bars_and_bands

HERE = Path(__file__).parent


class Month(TypedDict):
    name: str  # 2012-01
    rain: list[float]  # millimetres, one a day
    high: list[float]  # degrees Celsius
    low: list[float]


class Summary(TypedDict):
    name: str
    days: int
    rain: float  # millimetres in the whole month
    high: float  # mean of the daily highs
    low: float


def free_port() -> int:
    """A port of the loopback interface that nothing listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def by_month(text: str) -> list[Month]:
    """Check the file and cut it into months. Raises ValueError that names the line which is wrong."""
    rows = list(_checked(csv.DictReader(text.splitlines())))
    months: list[Month] = []
    for name, days in groupby(rows, key=lambda row: row[0].strftime("%Y-%m")):
        _, rain, high, low = zip(*days, strict=True)
        months.append({"name": name, "rain": list(rain), "high": list(high), "low": list(low)})
    return months


def _checked(rows: Iterable[dict[str, str]]) -> Iterable[tuple[date, float, float, float]]:
    expected: date | None = None
    for number, row in enumerate(rows, start=2):
        try:
            day = date(*map(int, row["date"].split("/")))
            rain, high, low = float(row["precipitation"]), float(row["temp_max"]), float(row["temp_min"])
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"line {number}: {error!r}") from error
        if expected is not None and day != expected:
            raise ValueError(f"line {number}: expected {expected}, got {day}")
        if rain < 0 or low > high:
            raise ValueError(f"line {number}: impossible weather on {day}")
        yield day, rain, high, low
        expected = day + timedelta(days=1)
    if expected is None:
        raise ValueError("no day in the file")


def summarise(month: Month) -> Summary:
    days = len(month["rain"])
    return {
        "name": month["name"],
        "days": days,
        "rain": round(sum(month["rain"]), 1),
        "high": round(sum(month["high"]) / days, 1),
        "low": round(sum(month["low"]) / days, 1),
    }


def report(summaries: list[Summary]) -> str:
    """Write `out/report.html`, a plot and a table, and return its path relative to the flow."""
    rows = "\n".join(
        f"<tr><td>{each['name']}<td>{each['rain']}<td>{each['low']}<td>{each['high']}" for each in summaries
    )
    plot = bars_and_bands(
        names=[each["name"] for each in summaries],
        bars=[each["rain"] for each in summaries],
        bands=[(each["low"], each["high"]) for each in summaries],
    )
    page = HERE / "out" / "report.html"
    page.parent.mkdir(exist_ok=True)
    page.write_text(
        f"<!doctype html><meta charset=utf-8><title>Seattle's weather</title><h1>Seattle's weather</h1>\n{plot}\n"
        f"<table><tr><th>month<th>rain, mm<th>low, °C<th>high, °C\n{rows}</table>\n",
        encoding="utf-8",
    )
    return str(page.relative_to(HERE))
