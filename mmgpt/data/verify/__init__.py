"""The doctor of data sets: looks through annotation files and images, and tells every fault with its place and cure."""

from mmgpt.data.verify.doctor import Patient, examine
from mmgpt.data.verify.findings import KINDS, Fault, Finding, Report
from mmgpt.data.verify.opening import open_patient

__all__ = ['KINDS', 'Fault', 'Finding', 'Patient', 'Report', 'examine', 'open_patient']
