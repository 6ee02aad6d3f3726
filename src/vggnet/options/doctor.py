"""Options of `vggnet doctor`."""

from dataclasses import dataclass
from typing import Annotated

from vggnet.options.common import DeviceOption, JsonOption, option


@dataclass(frozen=True)
class DoctorOptions:
    """Examine this installation and this machine. Then check that nets and files work here, and whether a repeated
    training gives the same weights. Add the output to a bug report."""

    quick: Annotated[bool, option("Skip the self-test, which takes up to 20 seconds.", default="off")] = False
    device: DeviceOption = "auto"
    json: JsonOption = None
