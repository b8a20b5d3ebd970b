"""Find config.toml, merge it with the environment, validate it.

`load_config` is the only entry point. Every key has a working default; the sections are in
services.common.settings.sections.
"""

import difflib
import grp
import json
import os
import pwd
import re
import stat
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_origin

from platformdirs import user_config_path
from pydantic import BaseModel, SecretStr, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from bus import fault_injection
from services.common.errors import ConfigError
from services.common.names import SERVICES
from services.common.settings.masking import MASK, mask, mask_url
from services.common.settings.sections import (
    Config,
    Download,
    Endpoint,
    General,
    Nats,
    Section,
    Services,
    Storage,
    YouTube,
)
from services.common.validation import decode_utf8, problem_text

__all__ = [
    "Config",
    "Download",
    "Endpoint",
    "General",
    "Nats",
    "Services",
    "Storage",
    "YouTube",
    "describe",
    "load_config",
]

PREFIX = "YTARCHIVE_"
CONFIG_VARIABLE = "YTARCHIVE_CONFIG"
_NOT_KEYS = frozenset({CONFIG_VARIABLE, fault_injection.VARIABLE})  # variables with our prefix that are not keys
API_KEY_VARIABLE = "YOUTUBE_API_KEY"
_URLS = frozenset({"youtube.proxy", "youtube.api_endpoint", "nats.url"})  # they may contain a password
_OURS = {"source", "origins", "ignored"}  # fields of Config that are not sections


def load_config(path: Path | None = None, *, env: Mapping[str, str] = os.environ, cwd: Path | None = None) -> Config:
    """Load the configuration; variables override the file.

    The file is `path`, else `$YTARCHIVE_CONFIG`, else `./config.toml` if it is one of YTArchive and nobody else can
    have written it (`ignored` has the reason), else the one in the user's configuration directory, else none. Raise
    ConfigError, which names file or variable, key and remedy.
    """
    file, ignored = _find(path, env, cwd)
    values = _read(file) if file else {}
    origins = dict.fromkeys(_leaves(values), str(file))
    for variable, key, value in _variables(env):
        _put(values, key, value, variable)
        origins[".".join(key)] = variable
    foreign = _OURS & values.keys()
    if foreign:
        raise ConfigError(f"{file}: unknown key {foreign.pop()}.", file=str(file))
    try:
        config = Config.model_validate({**values, "source": file, "origins": origins, "ignored": ignored})
    except ValidationError as error:
        messages = [_explain(problem, origins) for problem in error.errors(include_url=False)]
        raise ConfigError("\n".join(messages), file=str(file) if file else None) from error
    _check_ports(config)
    _check_data_folder(config.storage.base_data_dir)
    return config


def _check_ports(config: Config) -> None:
    """Raise ConfigError for two services with one address. With an external broker they may run on several machines."""
    taken: dict[tuple[str, int], str] = {}
    for name in SERVICES if config.nats.url is None else ():
        endpoint: Endpoint = getattr(config.services, name)
        place = ("localhost" if endpoint.is_local else endpoint.host, endpoint.port)
        if endpoint.port and (other := taken.setdefault(place, name)) != name:
            raise ConfigError(
                f"services.{other}.port and services.{name}.port are both {endpoint.port}: set another port for one of"
                " them, 0 for any free one."
            )


def _check_data_folder(path: Path) -> None:
    if os.path.exists(path) and not os.path.isdir(path):  # noqa: PTH110, PTH112 - False where pathlib raises
        raise ConfigError(
            f"storage.base_data_dir = '{path}': it is a file, not a folder. Remove it, or set another path."
        )


def describe(config: Config) -> dict[str, dict[str, Any]]:
    """Return every key with its value, secrets masked, and its origin: a file, a variable, or `default`.

    {"youtube.proxy": {"value": "http://…", "origin": "YTARCHIVE_YOUTUBE__PROXY"}, …}
    """
    described: dict[str, dict[str, Any]] = {}
    for key, value in _values(config):
        described[key] = {"value": value, "origin": config.origins.get(key, "default")}
    return described


def _values(section: BaseModel, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name in type(section).model_fields:
        if not prefix and name in _OURS:
            continue
        value = getattr(section, name)
        if isinstance(value, Section):
            yield from _values(value, f"{prefix}{name}.")
        elif isinstance(value, SecretStr):
            yield prefix + name, MASK
        else:
            yield prefix + name, _masked(prefix + name, TypeAdapter(Any).dump_python(value, mode="json"))


def _masked(key: str, value: Any) -> Any:
    return mask_url(value) if key in _URLS and isinstance(value, str) else mask(value)


# --- the file -----------------------------------------------------------------------------------------------------


def _find(path: Path | None, env: Mapping[str, str], cwd: Path | None) -> tuple[Path | None, str | None]:
    """Return the file, and why `./config.toml` was ignored."""
    try:
        cwd = cwd or Path.cwd()
    except FileNotFoundError as error:
        raise ConfigError("The working directory was removed. Change to another one, for example with `cd`.") from error
    named = path or (Path(env[CONFIG_VARIABLE]) if env.get(CONFIG_VARIABLE) else None)
    if named is not None:
        file = (cwd / named.expanduser()).absolute()
        if not file.is_file():
            by = "" if path else f", which {CONFIG_VARIABLE} names"
            raise ConfigError(f"There is no configuration file {file}{by}. Correct the path, or leave it out.")
        return file, None
    here, ignored = (cwd / "config.toml").absolute(), None
    try:
        distrust = _distrust(here) if here.is_file() and _is_ours(here) else ""
    except PermissionError as error:  # the user may not enter the folder
        distrust = f"{error.strerror}. Name it with --config."
    if distrust is None:
        return here, None
    if distrust:
        ignored = f"{here} is ignored: {distrust}"
    try:
        users = user_config_path("ytarchive") / "config.toml"
    except RuntimeError:  # the home directory is unknown
        return None, ignored
    return users if users.is_file() else None, ignored


def _distrust(file: Path) -> str | None:
    """Return why somebody else may have written the file, None if only we or root can: a folder such as /tmp contains
    files of others, and a configuration names where secrets are sent."""
    for found in (file.lstat(), file.stat()):
        if found.st_uid not in {0, os.geteuid()}:
            return "it belongs to another user. Name it with --config, if you trust it."
    mode = stat.S_IMODE(found.st_mode)
    if mode & stat.S_IWOTH or (mode & stat.S_IWGRP and not _is_private_group(found.st_gid)):
        return "other users can write to it. Run `chmod go-w` on it, or name it with --config."
    return None


def _is_private_group(gid: int) -> bool:
    """Return whether the group contains nobody but us, as that of each user on Debian and Fedora."""
    try:
        user, group = pwd.getpwuid(os.geteuid()), grp.getgrgid(gid)
    except KeyError:
        return False
    return group.gr_name == user.pw_name and set(group.gr_mem) <= {user.pw_name}


def _is_ours(file: Path) -> bool:
    try:
        text = file.read_bytes().replace(b"\0", b"").decode(errors="replace")  # UTF-16 is reported when it is read
    except OSError:
        return True  # reported when it is read
    try:
        return "jobs" in tomllib.loads(text).get("services", {})
    except (tomllib.TOMLDecodeError, TypeError):
        return (
            re.search(r"^\s*\[services\.jobs\]", text, re.MULTILINE) is not None
        )  # ours with a syntax error: report it


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(decode_utf8(file.read_bytes()))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file}: not valid TOML: {error}. Correct that line.", file=str(file)) from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file}: cannot be read: {error}.", file=str(file)) from error


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in values.items():
        yield prefix + name
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{name}.")


# --- the environment ----------------------------------------------------------------------------------------------


def _variables(env: Mapping[str, str]) -> Iterator[tuple[str, tuple[str, ...], Any]]:
    """Yield (variable, key, value) for each variable that sets a key; an empty one counts as unset."""
    if env.get(API_KEY_VARIABLE):
        yield API_KEY_VARIABLE, ("youtube", "api_key"), env[API_KEY_VARIABLE]
    known = {_variable(key): key for key in _keys(Config)}
    for variable in sorted(env):
        if not variable.startswith(PREFIX) or variable in _NOT_KEYS or not env[variable].strip():
            continue
        if variable not in known:
            near = _near(variable, [*known, CONFIG_VARIABLE], PREFIX)
            raise ConfigError(f"{variable}: no such setting. {near} Correct or unset it.", variable=variable)
        yield variable, known[variable], _decode(variable, known[variable], env[variable])


def _variable(key: tuple[str, ...]) -> str:
    return PREFIX + "__".join(key).upper()


def _keys(section: type[BaseModel], prefix: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, field in section.model_fields.items():
        if not prefix and name in _OURS:
            continue
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from _keys(field.annotation, (*prefix, name))
        else:
            yield (*prefix, name)


def _decode(variable: str, key: tuple[str, ...], text: str) -> Any:
    """Parse a list (JSON or comma-separated) or a table (JSON); pydantic parses all other values."""
    section: Any = Config
    for part in key[:-1]:
        section = section.model_fields[part].annotation
    kind = get_origin(section.model_fields[key[-1]].annotation)
    if kind is tuple and not text.lstrip().startswith("["):
        return [part.strip() for part in text.split(",") if part.strip()]
    if kind in (tuple, dict):
        try:
            return json.loads(text)
        except json.JSONDecodeError as error:
            raise ConfigError(f"{variable}: not valid JSON: {error}. Write it as JSON.", variable=variable) from error
    return text


def _put(values: dict[str, Any], key: tuple[str, ...], value: Any, variable: str) -> None:
    for part in key[:-1]:
        inner = values.setdefault(part, {})
        if not isinstance(inner, dict):
            raise ConfigError(
                f"{variable} sets a key of [{part}], and the file has a plain value there: make it a table."
            )
        values = inner
    values[key[-1]] = value


# --- error messages -----------------------------------------------------------------------------------------------


def _explain(problem: ErrorDetails, origins: Mapping[str, str]) -> str:
    parts = [str(part) for part in problem["loc"]]
    key = ".".join(parts)
    origin = _origin(key, origins)
    if problem["type"] == "extra_forbidden":
        known = [".".join(known) for known in _keys(Config)]
        sections = sorted({name.rpartition(".")[0] for name in known})
        return f"{origin}: unknown key {key}. {_near(key, known + sections)} Correct or remove it."
    message = problem_text(problem)
    if isinstance(problem["input"], Mapping):  # of keys that do not fit together; the message names them
        places = dict.fromkeys(place for name, place in origins.items() if name.startswith(f"{key}."))
        return f"{', '.join(places)}: [{key}] {message}."
    secret = any(part in {"api_key", "password", "token", "urls"} for part in parts)
    if secret:  # no colon after the key: what follows would be masked as the secret
        return f"{origin} has no valid value for {key} ({message}). Correct it, or remove it for the default."
    value = f" = {_masked(key, problem['input'])!r}"
    return f"{origin}: {key}{value}: {message}. Correct it, or remove it for the default."


def _origin(key: str, origins: Mapping[str, str]) -> str:
    while key:
        if key in origins:
            return origins[key]
        key = key.rpartition(".")[0]
    return "default"


def _near(name: str, known: list[str], prefix: str = "") -> str:
    """Suggest the key that was probably meant. The common `prefix` is ignored in the comparison."""
    close = difflib.get_close_matches(name.removeprefix(prefix), [key.removeprefix(prefix) for key in known], n=1)
    if close:
        return f"Did you mean {prefix}{close[0]}?"
    section = name.partition(".")[0]
    there = [key for key in known if key.startswith(f"{section}.")]
    return f"Known there: {', '.join(there)}." if there else "`ytarchive config show` lists all keys."
