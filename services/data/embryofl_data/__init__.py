"""A clinic's data: the folder contract, the split by patient, the cache of decoded images. No torch."""

from embryofl_data.dataset import MIN_TRAIN, ClinicData, ImageExamples, load_clinic_data, pool
from embryofl_data.reading.contract import DataFolder, EmbryoImage, Problem
from embryofl_data.reading.layouts import read_folder
from embryofl_data.split import split_by_patient

__all__ = [
    "MIN_TRAIN",
    "ClinicData",
    "DataFolder",
    "EmbryoImage",
    "ImageExamples",
    "Problem",
    "load_clinic_data",
    "pool",
    "read_folder",
    "split_by_patient",
]
