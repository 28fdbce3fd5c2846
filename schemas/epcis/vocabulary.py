"""The words that CBV 2.0 defines, and the URIs that they are short for in an event hash.

A bare word is one of these or it is refused; whoever needs another writes a URI of his own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

_CBV = "https://ref.gs1.org/cbv/"


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """A set of words, and what stands before them in a URI."""

    title: str
    head: str
    words: frozenset[str]

    def uri(self, word: str) -> str:
        """Expand a word of the set; anything else stays."""
        return self.head + word if word in self.words else word


def _words(title: str, head: str, text: str) -> Vocabulary:
    return Vocabulary(title, head, frozenset(text.split()))


BIZ_STEP: Final = _words(
    "business step of CBV 2.0",
    f"{_CBV}BizStep-",
    """accepting arriving assembling collecting commissioning consigning creating_class_instance
    cycle_counting decommissioning departing destroying disassembling dispensing encoding
    entering_exiting holding inspecting installing killing loading other packing picking receiving
    removing repackaging repairing replacing reserving retail_selling sampling sensor_reporting
    shipping staging_outbound stock_taking stocking storing transporting unloading unpacking
    void_shipping""",
)
DISPOSITION: Final = _words(
    "disposition of CBV 2.0",
    f"{_CBV}Disp-",
    """active available completeness_inferred completeness_verified conformant container_closed
    container_open damaged destroyed dispensed disposed encoded expired in_progress in_transit
    inactive mismatch_class mismatch_instance mismatch_quantity needs_replacement no_pedigree_match
    non_conformant non_sellable_other partially_dispensed recalled reserved retail_sold returned
    sellable_accessible sellable_not_accessible stolen unavailable unknown""",
)
TRANSACTION: Final = _words(
    "business transaction type of CBV 2.0",
    f"{_CBV}BTT-",
    "bol cert desadv inv pedigree po poc prodorder recadv rma testprd testres upevt",
)
PARTY: Final = _words(
    "source or destination type of CBV 2.0",
    f"{_CBV}SDT-",
    "location owning_party possessing_party",
)
REASON: Final = _words("error reason of CBV 2.0", f"{_CBV}ER-", "did_not_occur incorrect_data")
COMPONENT: Final = _words(
    "component of CBV 2.0",
    f"{_CBV}Comp-",
    """altitude axial_distance azimuth easting elevation_angle height latitude longitude northing
    polar_angle spherical_radius x y z""",
)
MEASUREMENT: Final = _words(
    "measurement type of the GS1 Web Vocabulary",
    "https://gs1.org/voc/",
    """AbsoluteHumidity AbsorbedDose AbsorbedDoseRate Acceleration Altitude AmountOfSubstance
    AmountOfSubstancePerUnitVolume Angle AngularAcceleration AngularMomentum AngularVelocity Area
    Capacitance Conductance Conductivity Count Density Dimensionless DoseEquivalent
    DoseEquivalentRate DynamicViscosity ElectricCharge ElectricCurrent ElectricCurrentDensity
    ElectricFieldStrength Energy Exposure Force Frequency Illuminance Inductance Irradiance
    KinematicViscosity Length LinearMomentum Luminance LuminousFlux LuminousIntensity MagneticFlux
    MagneticFluxDensity MagneticVectorPotential Mass MassConcentration MassFlowRate MassPerAreaTime
    MemoryCapacity MolalityOfSolute MolarEnergy MolarMass MolarVolume Power Pressure RadiantFlux
    RadiantIntensity Radioactivity RelativeHumidity Resistance Resistivity SolidAngle SpecificVolume
    Speed SurfaceDensity SurfaceTension Temperature Time Torque Voltage Volume VolumeFlowRate
    VolumeFraction VolumetricFlux Wavenumber""",
)
ALERT: Final = _words(
    "sensor alert of the GS1 Web Vocabulary",
    "https://gs1.org/voc/",
    "ALARM_CONDITION ERROR_CONDITION",
)

# CBV words as they were written in XML, by their beginnings.
URNS: Final[Mapping[str, str]] = {
    "urn:epcglobal:cbv:bizstep:": BIZ_STEP.head,
    "urn:epcglobal:cbv:disp:": DISPOSITION.head,
    "urn:epcglobal:cbv:btt:": TRANSACTION.head,
    "urn:epcglobal:cbv:sdt:": PARTY.head,
    "urn:epcglobal:cbv:er:": REASON.head,
}
