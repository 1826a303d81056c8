"""What every command line of the project shares; apart from ``cxr`` itself, so that a service carries only this."""

from __future__ import annotations

from typing import Any

import click

from cxr_core.errors import CxrError

__all__ = ["OneSentence"]


class OneSentence(click.Group):
    """Shows our errors as one sentence and ends with status 1."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except CxrError as error:
            raise click.ClickException(str(error)) from error
