"""The public names. Type checkers read them here, and `__init__.py` reads from here where each is defined."""

__version__: str

# Train
from vggnet.api.training import train as train
from vggnet.api.training import ladder as ladder
from vggnet.api.training import diagnose as diagnose

# Data
from vggnet.api.data import check_data as check_data
from vggnet.api.data import pack_data as pack_data

# Test and use on images
from vggnet.api.evaluation import evaluate as evaluate
from vggnet.api.evaluation import classify as classify
from vggnet.api.evaluation import predict as predict
from vggnet.evaluation.other_classifiers import OtherClassifier as OtherClassifier
from vggnet.api import localize as localize

# Look
from vggnet.api.reporting import report as report
from vggnet.api import plot as plot

# Features
from vggnet.network.taps import features as features
from vggnet.api.features import descriptors as descriptors
from vggnet.api.features import transfer as transfer
from vggnet.api.perceptual import PerceptualLoss as PerceptualLoss

# Nets in memory
from vggnet.network.initialization import build as build
from vggnet.api.nets import load as load
from vggnet.api.nets import save as save
from vggnet.network.vgg import as_classifier as as_classifier
from vggnet.evaluation.preprocessing import preprocess as preprocess
from vggnet.training.transforms import transforms as transforms
from vggnet.training.transforms import Dataset as Dataset

# Weights of and for others
from vggnet.api.weights import convert as convert
from vggnet.api.weights import export as export
from vggnet.api.weights import quantize as quantize
from vggnet.api.nets import from_pretrained as from_pretrained
from vggnet.network.pretrained import save_pretrained as save_pretrained
from vggnet.network.pretrained import push_to_hub as push_to_hub

# This installation
from vggnet.api.checkup import doctor as doctor

# Errors
from vggnet.errors import UserError as UserError
from vggnet.errors import BadImage as BadImage
