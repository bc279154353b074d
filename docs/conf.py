"""Sphinx's configuration: Markdown through MyST, the Furo theme, nothing fetched from anywhere when building."""

from graft import __version__

project = "Graft"
author = "the Graft authors"
copyright = author
release = version = __version__

extensions = ["myst_parser"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
suppress_warnings = ["misc.highlighting_failure"]  # the diagnostics show TOML that is wrong on purpose
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"Graft {__version__}"
html_copy_source = False
