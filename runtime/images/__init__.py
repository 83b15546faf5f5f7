"""Pictures: file to array and back. What is kept and what is lost: docs/pictures.md."""

from lorair.runtime.images.formats import FORMATS as FORMATS
from lorair.runtime.images.formats import WRITABLE as WRITABLE
from lorair.runtime.images.formats import Encoding as Encoding
from lorair.runtime.images.formats import check_format as check_format
from lorair.runtime.images.kinds import why_not as why_not
from lorair.runtime.images.picture import MIN_PIXELS as MIN_PIXELS
from lorair.runtime.images.picture import Metadata as Metadata
from lorair.runtime.images.picture import Picture as Picture
from lorair.runtime.images.picture import Samples as Samples
from lorair.runtime.images.picture import check_size as check_size
from lorair.runtime.images.picture import side_by_side as side_by_side
from lorair.runtime.images.picture import to_uint8 as to_uint8
from lorair.runtime.images.read import check_name as check_name
from lorair.runtime.images.read import read as read
from lorair.runtime.images.write import write as write
from lorair.runtime.system.limits import DEFAULT_MAX_PIXELS as DEFAULT_MAX_PIXELS
