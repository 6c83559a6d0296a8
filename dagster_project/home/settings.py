"""The settings of an installation, and the paths of all its files. Only this module reads the environment."""

from functools import cached_property
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit
from zoneinfo import available_timezones

from pydantic import Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

PROJECT_ROOT = Path(__file__).resolve().parent.parent.parent


class Settings(BaseSettings):
    """The settings that may differ between installations.

    Each field is read from the environment variable CREDITLOOM_<NAME>, for example CREDITLOOM_HOME.
    """

    model_config = SettingsConfigDict(env_prefix="CREDITLOOM_", frozen=True, extra="ignore")

    home: Path = Field(default=Path(".creditloom"), description="the data folder")
    profile: Literal["development", "production"] = "development"
    policy: Path = PROJECT_ROOT / "policy" / "default.yaml"
    master_key: str | None = Field(default=None, repr=False)
    master_key_file: Path | None = None
    key_store: Path | None = Field(default=None, description="the file of the data keys, outside the data folder")
    night_cron: str = Field(
        default="0 2 * * *",
        pattern=r"^[\w*,/-]+( [\w*,/-]+){4}$",
        description="cron expression of the nightly schedule",
    )
    duckdb_memory: str = Field(
        default="2GB",
        pattern=r"^\d+(\.\d+)?(MB|GB)$",
        description="memory that DuckDB may use before it spills to disk",
    )
    audit_head: Path | None = Field(default=None, description="the file of the audit chain's head")
    warnings_webhook: SecretStr | None = Field(
        default=None, description="address that early warnings are posted to as JSON; none are posted if unset"
    )
    timezone: str = Field(default="UTC", description="time zone of the nightly schedule")

    @field_validator("home", mode="before")
    @classmethod
    def _absolute(cls, value: str | Path) -> Path:
        home = Path(value).expanduser().resolve()
        if not str(value).strip():
            raise ValueError("the data folder is empty; unset CREDITLOOM_HOME for the default, or name a folder")
        if home.exists() and not home.is_dir():
            raise ValueError(f"{home} is not a folder")
        if set(str(home)) & set("'\"{}"):
            raise ValueError(f"{home} contains a quote or a brace, which would break SQL and templates")
        return home

    @field_validator("key_store", mode="before")
    @classmethod
    def _outside(cls, value: str | Path | None, info: ValidationInfo) -> Path | None:
        if value is None:
            return None
        path, home = Path(value).expanduser().resolve(), info.data.get("home")
        if home and path.is_relative_to(home):
            raise ValueError(f"{path} is in the data folder, whose backups must not contain keys; choose another place")
        return path

    @field_validator("audit_head")
    @classmethod
    def _absolute_file(cls, value: Path | None) -> Path | None:
        path = value.expanduser().resolve() if value else None
        if path and path.is_dir():
            raise ValueError(f"{path} is a folder; name a file")
        return path

    @field_validator("warnings_webhook")
    @classmethod
    def _web_address(cls, value: SecretStr | None) -> SecretStr | None:
        """Check that the address begins with http:// or https://, and turn an empty address into None.

        The error message never contains the address, because it may contain a secret.
        """
        if value is None or not value.get_secret_value():
            return None
        parts = urlsplit(value.get_secret_value())
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("this is not an address that begins with https:// or http://")
        return value

    @field_validator("timezone")
    @classmethod
    def _time_zone(cls, value: str) -> str:
        if value not in available_timezones():
            raise ValueError(f"{value!r} is not a time zone; an example is Europe/Amsterdam")
        return value

    @property
    def key_store_file(self) -> Path:
        """Return the path of the key store. By default it is beside the data folder; it is never in the data folder."""
        return self.key_store or self.home.with_name(f"{self.home.name}-keys") / "keys.sqlite"

    @property
    def landing(self) -> Path:
        """Return the folder into which files are delivered. It has one folder per source."""
        return self.home / "landing"

    @property
    def contracts(self) -> Path:
        """Return the folder of the contracts that the user has added. It has one folder per source."""
        return self.home / "contracts"

    @property
    def lake(self) -> Path:
        """Return the folder of the lake, with its Parquet files, receipts, quarantine, vault and originals."""
        return self.home / "lake"

    @property
    def audit_head_file(self) -> Path:
        """Return the path of the file that stores the head of the audit chain.

        It is outside the lake. By default it is in the home, but a place outside the home is safer.
        """
        return self.audit_head or self.home / "audit.head"

    @property
    def warehouse(self) -> Path:
        """Return the folder of the DuckDB database and of the other files that a night builds before it publishes."""
        return self.home / "warehouse"

    @property
    def warehouse_file(self) -> Path:
        """Return the path of the DuckDB database that dbt writes."""
        return self.warehouse / "creditloom.duckdb"

    @property
    def selection(self) -> Path:
        """Return the folder of links to the lake files that a night reads."""
        return self.warehouse / "selection"

    @property
    def changed_files(self) -> Path:
        """Return the folder of links to the lake files that are new since the previous build of the warehouse."""
        return self.warehouse / "changed_files"

    @property
    def build(self) -> Path:
        """Return the folder of the intermediate files that a night writes after the warehouse was built.

        Examples are training sets, scores and check results.
        """
        return self.warehouse / "build"

    @property
    def published(self) -> Path:
        """Return the folder of the published snapshots and of the link `current`, which points to one of them."""
        return self.home / "published"

    @property
    def outbox_file(self) -> Path:
        """Return the path of the outbox, a database of the notifications that were sent or are waiting to be sent."""
        return self.home / "outbox" / "outbox.sqlite"

    @property
    def warnings_log(self) -> Path:
        """Return the path of the log of early warnings. It has one line of JSON for each warning that was sent."""
        return self.home / "logs" / "early_warnings.jsonl"

    @property
    def mlflow(self) -> Path:
        """Return the folder of the promotion ledger and of MLflow's database and artifacts."""
        return self.home / "mlflow"

    @property
    def ledger_file(self) -> Path:
        """Return the path of the promotion ledger, which is a SQLite database."""
        return self.mlflow / "promotions.sqlite"

    @property
    def dagster_home(self) -> Path:
        """Return the folder in which Dagster stores its configuration and its runs (DAGSTER_HOME)."""
        return self.home / "dagster"

    @property
    def dbt_project(self) -> Path:
        """Return the folder of the dbt project. It is part of the code, not of the home."""
        return PROJECT_ROOT / "dbt"

    @property
    def dbt_target(self) -> Path:
        """Return the folder in which dbt writes its manifest and results. Each home has its own."""
        return self.home / "dbt"

    @cached_property
    def tool_environment(self) -> dict[str, str]:
        """Return the environment variables to set for dbt, Dagster, MLflow and Great Expectations (GX).

        They set folders and limits, and turn off telemetry.
        """
        return {
            "CREDITLOOM_DUCKDB_MEMORY": self.duckdb_memory,
            "CREDITLOOM_HOME": str(self.home),
            "DAGSTER_HOME": str(self.dagster_home),
            "DBT_LOG_LEVEL_FILE": "info",  # writing dbt's debug log takes a tenth of a small build
            "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
            "DO_NOT_TRACK": "1",
            "GX_ANALYTICS_ENABLED": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_TRACKING_URI": self.mlflow_uri,
            "OMP_WAIT_POLICY": "PASSIVE",
        }

    @property
    def mlflow_uri(self) -> str:
        """Return the address of the SQLite database that MLflow uses for runs and registered models."""
        return f"sqlite:///{self.mlflow / 'mlflow.db'}"
