"""Options of `vggnet doctor`."""

from dataclasses import dataclass
from typing import Annotated

from vggnet.options.common import DeviceOption, JsonOption, option


@dataclass(frozen=True)
class DoctorOptions:
    """Examine this installation and machine, and test nets, files and determinism, for a report of an error."""

    quick: Annotated[bool, option("Leave out the self-test, which takes up to 20 seconds.")] = False
    device: DeviceOption = "auto"
    json: JsonOption = None
