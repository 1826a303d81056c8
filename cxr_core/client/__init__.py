"""Python client of the prediction service, and predictions of whole folders that survive being killed.

>>> from cxr_core.client import Client
>>> with Client("https://cxr.example.org", key) as service:  # doctest: +SKIP
...     print(service.predict("film.png").prediction)
"""

from cxr_core.client.answers import Answer, BatchItem, Explanation, Health, ModelCard, ModelIdentity
from cxr_core.client.client import Client
from cxr_core.client.errors import ServiceProblem, ServiceUnreachable
from cxr_core.client.folder import FolderResult, predict_folder
from cxr_core.client.retries import Retries

__all__ = [
    "Answer",
    "BatchItem",
    "Client",
    "Explanation",
    "FolderResult",
    "Health",
    "ModelCard",
    "ModelIdentity",
    "Retries",
    "ServiceProblem",
    "ServiceUnreachable",
    "predict_folder",
]
