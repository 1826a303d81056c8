"""The two pages: ``/`` predicts dropped films, ``/review`` is a reader's queue. Plain files, nothing from elsewhere."""

from bentoml_service.pages.routes import add_page_routes

__all__ = ["add_page_routes"]
