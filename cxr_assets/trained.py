"""The trained model as the assets downstream of it load it."""

from typing import TYPE_CHECKING

from cxr_assets.resources import preprocessing_of
from cxr_core.settings import Settings
from cxr_core.store import Artefact, ArtefactStore

if TYPE_CHECKING:
    from cxr_core.training.saved_model import SavedModel

__all__ = ["open_model"]


def open_model(settings: Settings, store: ArtefactStore, trained_model: Artefact) -> "SavedModel":
    """The model, refused where its preprocessing is not that of the settings.

    Raises:
        cxr_core.errors.CxrError: other preprocessing, or altered weights.
    """
    from cxr_core.training.saved_model import load_model

    return load_model(store.local_tree(trained_model), preprocessing_of(settings))
