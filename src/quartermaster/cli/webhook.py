"""The words by which the controller is told to answer admission reviews, and what comes of them."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING

from quartermaster.model.errors import InvalidInput

if TYPE_CHECKING:
    from quartermaster.api.admission import Known
    from quartermaster.controllers.admission import Admission
    from quartermaster.kube.api import Api
    from quartermaster.kube.clock import Clock


def add(command: argparse.ArgumentParser) -> None:
    """The words, on a command."""
    command.add_argument(
        "--webhook-service",
        metavar="NAMESPACE/NAME",
        help="answer admission reviews that come to this Service; its configuration and Secret have its name",
    )
    command.add_argument("--webhook-port", metavar="PORT", default="9443", help="for these (default 9443); 0: any free")


def admission(options: argparse.Namespace, api: Api, *, clock: Clock, known: Callable[[], Known]) -> Admission | None:
    """The webhook, to be run beside everything else, leader or not; None if nobody asked for one."""
    if options.webhook_service is None:
        return None
    namespace, _, name = options.webhook_service.partition("/")
    if not namespace or not name:
        raise InvalidInput("--webhook-service", f"'{options.webhook_service}' is none", "give NAMESPACE/NAME")
    if not options.webhook_port.isdecimal() or int(options.webhook_port) > 65535:
        raise InvalidInput("--webhook-port", f"'{options.webhook_port}' is no port", "give 0 to 65535")
    from quartermaster.controllers.admission import Admission  # noqa: PLC0415  # see the package docstring

    return Admission(api, clock=clock, service=options.webhook_service, known=known, port=int(options.webhook_port))
