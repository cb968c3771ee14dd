"""gunicorn's own lines in the format of all others."""

from gunicorn.config import Config
from gunicorn.glogging import Logger

from lorajobs import logs
from lorajobs.settings import Settings


class Log(Logger):
    """Sets the log of the API up, once for the process that the workers are forked from."""

    def setup(self, cfg: Config) -> None:
        """Leaves alone what GUNICORN_CMD_ARGS sends to a file, and the access log."""
        super().setup(cfg)
        logs.set_up(Settings.from_env(), "api")
        if cfg.errorlog == "-":
            self.error_log.handlers = []
            self.error_log.propagate = True
