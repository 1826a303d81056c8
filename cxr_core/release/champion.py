"""The champion, the model in service, its predecessors, and every candidate that was judged: pointers in the store.

``refs/champion`` names the package in service; ``refs/champions/<n>`` every package that ever was, the latest last;
``refs/candidates/<n>`` every package that the gate judged, promoted or rejected. A registry elsewhere is a mirror.
"""

from __future__ import annotations

from typing import Any

from cxr_core.errors import CxrError
from cxr_core.release.manifest import PackageManifest, read_manifest
from cxr_core.store import Artefact, ArtefactStore

__all__ = [
    "CHAMPION",
    "get_champion",
    "judged",
    "past_champions",
    "record_candidate",
    "require_current",
    "set_champion",
]

CHAMPION = "champion"
_PAST = "champions"
_JUDGED = "candidates"
_DIGITS = 6  # of a number in a list: names sort as numbers do up to a million


def get_champion(store: ArtefactStore) -> Artefact | None:
    """The package of the model in service; None where none has been yet."""
    return store.find_ref(CHAMPION)


def past_champions(store: ArtefactStore) -> list[Artefact]:
    """Every package that was put into service, in that order; the last one is the champion."""
    return _listed(store, _PAST)


def judged(store: ArtefactStore) -> list[Artefact]:
    """Every package that the gate judged, each once, in the order of their first judgement."""
    return _listed(store, _JUDGED)


def record_candidate(store: ArtefactStore, package: Artefact) -> None:
    """Remember a package that the gate judged; a package that is remembered already stays where it is."""
    if package.digest not in {known.digest for known in judged(store)}:
        _append(store, _JUDGED, package)


def set_champion(store: ArtefactStore, package: Artefact) -> bool:
    """Put a package into service. The list is written first, so a crash between the two loses no champion.

    Args:
        store: the store.
        package: the package; one from :func:`past_champions` takes its place again.

    Returns:
        Whether the champion changed.

    Raises:
        CxrError: the gate rejected the package.
    """
    manifest = read_manifest(store.local_tree(package))
    if not manifest.decision.passed:
        raise CxrError(f"{_name(manifest, package)} cannot be champion: {manifest.decision.summary}")
    current = get_champion(store)
    if current is not None and current.digest == package.digest:
        return False
    past = past_champions(store)
    if not past or past[-1].digest != package.digest:
        _append(store, _PAST, package)
    store.set_ref(CHAMPION, package)
    return True


def require_current(store: ArtefactStore, package: Artefact) -> None:
    """Refuse a package that was judged against another champion than the present one.

    A package of the very model in service is always current.

    Raises:
        CxrError: the champion changed since the package was judged.
    """
    champion = get_champion(store)
    if champion is None or champion.digest == package.digest:
        return
    mine = read_manifest(store.local_tree(package))
    if mine.decision.champion == champion.digest or mine.model == read_manifest(store.local_tree(champion)).model:
        return
    against = mine.decision.champion[:12] or "no champion"
    raise CxrError(
        f"{_name(mine, package)} was judged against {against} but the champion now is {champion.digest[:12]}: "
        "materialise release_candidate again together with its check."
    )


def models(store: ArtefactStore) -> list[dict[str, Any]]:
    """Every judged model in the order of judgement, for a person.

    Returns:
        For each ``package`` (digest), ``name``, ``version``, ``state`` (in service, was in service, passed, rejected,
        or gone where its content is no longer in the store) and ``reasons``, the sentences of the rules that failed.
    """
    champion, past = get_champion(store), {package.digest for package in past_champions(store)}
    rows: list[dict[str, Any]] = []
    for package in judged(store):
        try:
            manifest = read_manifest(store.local_tree(package))
        except CxrError as error:
            rows.append(
                {"package": package.digest, "name": "", "version": "", "state": "gone", "reasons": [str(error)]}
            )
            continue
        decision = manifest.decision
        state = "passed" if decision.passed else "rejected"
        if package.digest in past:
            state = "in service" if champion and champion.digest == package.digest else "was in service"
        row = {"package": package.digest, "name": manifest.name, "version": manifest.version, "state": state}
        rows.append({**row, "reasons": decision.reasons})
    return rows


def _listed(store: ArtefactStore, folder: str) -> list[Artefact]:
    return [store.get_ref(f"{folder}/{name}") for name in store.ref_names(folder)]


def _append(store: ArtefactStore, folder: str, package: Artefact) -> None:
    names = store.ref_names(folder)
    store.set_ref(f"{folder}/{int(names[-1]) + 1 if names else 1:0{_DIGITS}}", package)


def _name(manifest: PackageManifest, package: Artefact) -> str:
    return f"{manifest.name} {manifest.version} ({package.digest[:12]})"
