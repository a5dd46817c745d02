"""As much of kustomize as deploy/kubernetes uses, so that its tests need no program that Debian has not: resources,
components, JSON patches, images. What else a kustomization.yaml asks for is an error, never left out."""

import copy
import pathlib

import yaml

_KNOWN = {"apiVersion", "kind", "resources", "components", "images", "patches"}


def load(path):
    """The documents of a YAML file."""
    return [document for document in yaml.safe_load_all(pathlib.Path(path).read_text()) if document]


def render(folder):
    """What `kubectl kustomize FOLDER` would print, as a list of objects; their order may differ."""
    return _build(pathlib.Path(folder), [])


def _build(folder, objects):
    (kustomization,) = load(folder / "kustomization.yaml")
    unknown = kustomization.keys() - _KNOWN
    assert not unknown, f"{folder}: this renderer does not know {sorted(unknown)}"
    for resource in kustomization.get("resources", []):
        path = folder / resource
        objects = objects + (render(path) if path.is_dir() else load(path))
    for component in kustomization.get("components", []):
        objects = _build(folder / component, objects)
    for patch in kustomization.get("patches", []):
        objects = _patch(objects, patch, folder)
    for image in kustomization.get("images", []):
        for container in _containers(objects):
            if container["image"] == image["name"]:
                container["image"] = f"{image['newName']}:{image['newTag']}"
    return objects


def _containers(objects):
    for item in objects:
        template = item.get("spec", {}).get("template", {})
        yield from template.get("spec", {}).get("containers", [])


def _patch(objects, patch, folder):
    assert patch.keys() == {"path", "target"}, f"{folder}: {patch}: expected path and target"
    (operations,) = load(folder / patch["path"])
    assert isinstance(operations, list), f"{folder}: {patch['path']} is not a JSON patch"
    kind, name = patch["target"]["kind"], patch["target"]["name"]
    assert len(patch["target"]) == 2, f"{folder}: {patch['target']}: expected kind and name"
    objects = copy.deepcopy(objects)
    chosen = [item for item in objects if (item["kind"], item["metadata"]["name"]) == (kind, name)]
    assert len(chosen) == 1, f"{folder}: {len(chosen)} objects are {kind} {name}"
    for operation in operations:
        _apply(chosen[0], operation)
    return objects


def _apply(document, operation):
    """One operation of RFC 6902."""
    *parents, last = [part.replace("~1", "/").replace("~0", "~")
                      for part in operation["path"].lstrip("/").split("/")]
    for part in parents:
        document = document[int(part) if isinstance(document, list) else part]
    kind = operation["op"]
    if isinstance(document, list):
        last = len(document) if last == "-" else int(last)
    elif kind in ("replace", "remove", "test"):
        assert last in document, f"{operation}: no such field"
    if kind == "add" and isinstance(document, list):
        document.insert(last, operation["value"])
    elif kind in ("add", "replace"):
        document[last] = operation["value"]
    elif kind == "remove":
        del document[last]
    elif kind == "test":
        assert document[last] == operation["value"], f"{operation}: it is {document[last]!r}"
    else:
        raise AssertionError(f"{operation}: unknown operation")
