"""HDF5 read in place: superblock, headers, trees, heaps and values, by the published specification."""

from fastness.models.scan.hdf5.headers import SIGNATURE, Superblock, superblock
from fastness.models.scan.hdf5.image import Image, NotHdf5, Piece
from fastness.models.scan.hdf5.objects import Objects
from fastness.models.scan.hdf5.values import Attribute, Visitor

__all__ = ["SIGNATURE", "Attribute", "Image", "NotHdf5", "Objects", "Piece", "Superblock", "Visitor", "superblock"]
