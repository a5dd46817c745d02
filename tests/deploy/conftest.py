"""The fixtures of the end-to-end tests, for what a deployment says of the real server."""

from e2e.conftest import model_file, server, shared_server  # noqa: F401  used by name
