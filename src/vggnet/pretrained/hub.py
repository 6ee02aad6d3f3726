"""Fetch a repository of the Hugging Face hub: the weights of a VGG in timm's form or ours, without pickles."""

import hashlib
import json
from pathlib import Path
from typing import Any

from vggnet.console import note
from vggnet.description import MODEL_FILE
from vggnet.errors import UserError, reason_of
from vggnet.files import is_offline
from vggnet.network.pretrained import CARD_FILE, CONFIG_FILE
from vggnet.network.weights import PICKLES

BY_HAND = (
    "fetch {url}/{file} and config.json on another machine into a folder, and there "
    "`vggnet convert {file} --layout timm --out {out}`, which you then give as MODEL"
)


def fetch_repository(name: str, revision: str | None, folder: Path) -> Path:
    """Return a folder with the repository's model.safetensors and config.json, downloaded below `folder`.

    A repository that is in huggingface_hub's own cache, as timm leaves it there, is taken from it.

    Raises UserError where there is no such repository or no network, for one without weights, and for one that has
    them as a pickle only.
    """
    hub = _library(name)
    here = hub.try_to_load_from_cache(name, MODEL_FILE, revision=revision)
    beside = hub.try_to_load_from_cache(name, CONFIG_FILE, revision=revision)
    if isinstance(here, str) and isinstance(beside, str):
        return Path(here).parent
    if is_offline():
        raise UserError(
            f"hf-hub:{name} is not in the cache, and without a network it cannot be fetched. By hand: "
            + _by_hand(name, revision)
        )
    try:
        about = hub.HfApi().model_info(name, revision=revision, files_metadata=True)
        _refuse_without_weights(name, [each.rfilename for each in about.siblings])
        note(f"downloading hf-hub:{name} from {hub.HfApi().endpoint}")
        found = Path(name)
        files = {each.rfilename: each for each in about.siblings}
        if CONFIG_FILE not in files:
            _refuse_other_models(name, {})
        for file in (files[each] for each in (CONFIG_FILE, CARD_FILE, MODEL_FILE) if each in files):
            found = Path(hub.hf_hub_download(name, file.rfilename, revision=about.sha, cache_dir=folder))
            _check_hash(name, found, file)
            if file.rfilename == CONFIG_FILE:
                _refuse_other_models(name, _config_in(found))
        return found.parent
    except (UserError, KeyboardInterrupt):
        raise
    except OSError as error:
        if error.errno is not None and not isinstance(error, (ConnectionError, TimeoutError)):
            raise  # the disk's
        raise _failed(name, revision, error) from error
    except Exception as error:  # the hub raises many kinds
        raise _failed(name, revision, error) from error


def is_ours(folder: Path) -> bool:
    """Return whether the repository in `folder` is in the form of `vggnet.save_pretrained`."""
    return _config_in(folder / CONFIG_FILE).get("model_type") == "vggnet"


def _config_in(file: Path) -> dict[str, Any]:
    """Return the content of a config.json; empty where it is none."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _refuse_other_models(name: str, config: dict[str, Any]) -> None:
    """Raise UserError, before the weights are fetched, for a repository that is neither in timm's form nor in ours."""
    if config.get("model_type") == "vggnet" or str(config.get("architecture", "")).startswith("vgg"):
        return
    kind = config.get("architecture") or config.get("model_type")
    what = f"its config.json is of {kind!r}" if kind else "it has no config.json that names the model"
    raise UserError(
        f"hf-hub:{name} is not a VGG in timm's form or in ours: {what}. A VGG in "
        "another form: download them, then `vggnet convert FILE --layout ... --preprocessing ...`"
    )


def _library(name: str) -> Any:
    try:
        import huggingface_hub
    except ImportError as error:
        raise UserError(f"{name}: repositories of the Hugging Face hub need pip install 'vggnet[hub]'") from error
    return huggingface_hub


def _refuse_without_weights(name: str, files: list[str]) -> None:
    if MODEL_FILE in files:
        return
    pickles = [file for file in files if Path(file).suffix.lower() in PICKLES]
    if pickles:
        raise UserError(
            f"hf-hub:{name} has its weights as a pickle only ({', '.join(pickles[:3])}), and a pickle can run code: "
            "nothing is fetched. `vggnet convert` reads a downloaded pickle's tensors alone"
        )
    shown = ", ".join(files[:5]) or "nothing"
    raise UserError(f"hf-hub:{name} has no {MODEL_FILE}: it holds {shown}")


def _check_hash(name: str, path: Path, file: Any) -> None:
    """Raise UserError, and remove the file, where its SHA-256 is not the one that the hub states."""
    expected = getattr(file.lfs, "sha256", None) if file.lfs is not None else None
    if expected is None:
        return
    with path.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    if digest != expected:
        path.resolve().unlink(missing_ok=True)
        raise UserError(
            f"hf-hub:{name}: {path.name} has the SHA-256 {digest[:12]}..., and the hub states {expected[:12]}...: it "
            "was changed on the way and is removed; give the same command again"
        )


def _failed(name: str, revision: str | None, error: Exception) -> UserError:
    at = f" (revision {revision})" if revision else ""
    kind = type(error).__name__
    hint = {
        "RepositoryNotFoundError": "there is no such repository, or it is private (`hf auth login`)",
        "GatedRepoError": "its licence has to be accepted on its page, after `hf auth login`",
        "RevisionNotFoundError": "the repository has no such revision",
    }.get(kind, reason_of(error)[:200])
    return UserError(f"hf-hub:{name}{at} could not be downloaded: {hint}. By hand: {_by_hand(name, revision)}")


def _by_hand(name: str, revision: str | None) -> str:
    url = f"https://huggingface.co/{name}/resolve/{revision or 'main'}"
    return BY_HAND.format(url=url, file=MODEL_FILE, out=name.rpartition("/")[2])
