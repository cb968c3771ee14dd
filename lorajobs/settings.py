"""The settings: read once from the environment into a frozen value."""

import difflib
import os
from collections.abc import Sequence
from typing import NamedTuple

from pydantic import SecretStr, ValidationError
from pydantic_settings import SettingsError

from lorajobs.errors import ConfigError
from lorajobs.setting_fields import PREFIX, SettingFields
from lorajobs.setting_text import absolute, masked, text_of


class SettingRow(NamedTuple):
    """One setting as a table shows it; all three are text."""

    variable: str
    default: str
    description: str


class Settings(SettingFields):
    """Every setting, read from the environment and shown in words."""

    @classmethod
    def from_env(cls) -> "Settings":
        """Reads the environment.

        Raises: ConfigError naming the variable.
        """
        known = {row.variable for row in cls.table()}
        for name in os.environ:
            if name.startswith(PREFIX) and name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                hint = f"; did you mean {near[0]}?" if near else ""
                raise ConfigError(f"{name}: there is no such setting{hint}")
        # Empty, this one is not unset: it hides every GPU.
        hidden = os.environ.get("CUDA_VISIBLE_DEVICES") == ""
        try:
            return cls(cuda_visible_devices="") if hidden else cls()
        except SettingsError as error:
            # Its text is `error parsing value for field "<name>" from source …`.
            name = cls._variable(str(error).split('"')[1])
            raise ConfigError(f'{name}: a list is written as JSON, such as ["a", "b"]') from error
        except ValidationError as error:
            first = error.errors()[0]
            name = cls._variable(str(next(iter(first["loc"]), "")))
            raise ConfigError(f"{name}: {first['msg'].removeprefix('Value error, ')}") from error

    @property
    def base_url(self) -> str:
        """The API's URL as clients see it, without a slash at its end."""
        host = f"[{self.api_host}]" if ":" in self.api_host else self.api_host
        return (self.public_url or f"http://{host}:{self.api_port}").rstrip("/")

    def environ(self) -> dict[str, str]:
        """The environment in which a child process reads these very settings."""
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(PREFIX)}
        values = ((name, getattr(self, name)) for name in type(self).model_fields)
        return inherited | {
            # The child may start in another folder.
            self._variable(name): text_of(absolute(value))
            for name, value in values
            if value is not None
        }

    def shown(self) -> dict[str, str]:
        """Every variable's value for people to read, secrets and URLs' passwords as asterisks."""
        values = ((name, getattr(self, name)) for name in type(self).model_fields)
        return {
            self._variable(name): str(value)
            if isinstance(value, SecretStr)
            else masked(text_of(value))
            for name, value in values
        }

    @classmethod
    def table(cls) -> Sequence[SettingRow]:
        """Every setting with its default, in the order of this file."""
        return [
            SettingRow(
                cls._variable(name),
                text_of(field.default),
                field.description or "",
            )
            for name, field in cls.model_fields.items()
        ]

    @classmethod
    def _variable(cls, name: str) -> str:
        field = cls.model_fields.get(name)
        if field is None:  # pydantic names a field by its alias where it has one
            return name
        return str(field.validation_alias or PREFIX + name.upper())
