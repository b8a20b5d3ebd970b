"""Builds the page (page/) into the wheel. Where its packages cannot be had, the wheel is built without it, and says so:
everything else works."""

import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class PageHook(BuildHookInterface):  # type: ignore[type-arg]  # hatchling's generic has no public argument
    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":
            return  # a checkout: `make page`
        sys.path.insert(0, str(Path(self.root, "page")))
        import build as page  # type: ignore[import-not-found]  # page/build.py

        if page.is_current():
            return
        try:
            page.build()
        except page.NotBuilt as error:
            self.app.display_warning(f"The wheel has no current page: {error}")
