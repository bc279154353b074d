"""The steps of the flow: plain functions. What they take and give is JSON; the flow is checked against their types."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TypedDict

HERE = Path(__file__).parent


class City(TypedDict):
    name: str
    amounts: list[float]


class Summary(TypedDict):
    name: str
    total: float
    days: int


class Report(TypedDict):
    best: str
    file: str


def load(file: str) -> list[City]:
    """Read the file and group its rows by city."""
    groups: dict[str, list[float]] = {}
    with (HERE / file).open(newline="") as rows:
        for row in csv.DictReader(rows):
            groups.setdefault(row["city"], []).append(float(row["amount"]))
    return [{"name": name, "amounts": amounts} for name, amounts in groups.items()]


def summarise(city: City) -> Summary:
    """What one city sold."""
    return {"name": city["name"], "total": round(sum(city["amounts"]), 2), "days": len(city["amounts"])}


def report(summaries: list[Summary | None]) -> Report:
    """Write the report; a city that could not be summarised is null."""
    known = sorted((each for each in summaries if each is not None), key=lambda each: -each["total"])
    lines = [f"{each['name']:<12} {each['total']:>10.2f}  {each['days']} days" for each in known]
    (HERE / "report.txt").write_text("\n".join(lines) + "\n")
    return {"best": known[0]["name"] if known else "", "file": "report.txt"}
