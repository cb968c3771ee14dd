"""Where pictures and adapter snapshots are stored."""

from lorajobs.errors import ConfigError
from lorajobs.settings import Settings
from lorajobs.storage.base import ObjectStore


def open_store(settings: Settings) -> ObjectStore:
    """S3 if a bucket is set, else a folder in `data_dir` whose URLs the API serves.

    Raises: ConfigError naming the setting.
    """
    if settings.s3_bucket:
        # boto3 takes a while to import, and the local default does without.
        from lorajobs.storage.s3 import S3Store

        return S3Store(settings)
    from lorajobs.storage.folder import FolderStore

    root = settings.data_dir.expanduser() / "objects"
    try:
        return FolderStore(root, settings.base_url, settings.url_ttl_s)
    except OSError as error:
        raise ConfigError(f"LORAJOBS_DATA_DIR: {error}") from error
