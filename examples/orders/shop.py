"""The steps of the orders flow. The catalogue is read-only: what is sold from it in one run is not written back."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TypedDict

HERE = Path(__file__).parent


class Line(TypedDict):
    sku: str
    count: int


class Order(TypedDict):
    id: str
    name: str
    city: str
    lines: list[Line]


class Box(TypedDict):
    sku: str
    grams: int
    cents: int


class Fulfilled(TypedDict):
    id: str
    state: str
    cents: int


class Totals(TypedDict):
    shipped: int
    back_ordered: list[str]
    cents: int


class OutOfStock(Exception):
    """The flow catches this one by its name: `python.OutOfStock`."""


def catalogue() -> dict[str, dict[str, str]]:
    with (HERE / "catalogue.csv").open(newline="", encoding="utf-8") as file:
        return {row["sku"]: row for row in csv.DictReader(file)}


def reserve(order: Order) -> int:
    """How many pieces were put aside. Raises OutOfStock."""
    items = catalogue()
    for line in order["lines"]:
        if int(items[line["sku"]]["stock"]) < line["count"]:
            raise OutOfStock(f"{items[line['sku']]['name']}: {line['count']} wanted")
    return sum(line["count"] for line in order["lines"])


def pack(line: Line) -> Box:
    item = catalogue()[line["sku"]]
    return {
        "sku": line["sku"],
        "grams": int(item["grams"]) * line["count"],
        "cents": int(item["cents"]) * line["count"],
    }


def total(orders: list[Fulfilled]) -> Totals:
    shipped = [order for order in orders if order["state"] == "shipped"]
    return {
        "shipped": len(shipped),
        "back_ordered": [order["id"] for order in orders if order["state"] == "back-ordered"],
        "cents": sum(order["cents"] for order in shipped),
    }
