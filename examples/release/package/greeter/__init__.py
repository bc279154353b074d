"""The package that the flow releases."""


def greet(name: str) -> str:
    return f"Good morning, {name.strip() or 'stranger'}."
