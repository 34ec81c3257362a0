"""The appearance of each domain of the town: all parameters of the domain shift."""

from __future__ import annotations

from dataclasses import dataclass

Rgb = tuple[float, float, float]
Palette = tuple[Rgb, ...]
Range = tuple[float, float]


@dataclass(frozen=True)
class Look:
    """One domain: its camera, its light, its materials and the objects in its streets.

    Colours are RGB in 0..255, lengths in metres, angles in degrees. Ranges (low, high) are drawn
    uniformly per frame. Counts are means over frames; shares are probabilities.
    """

    # Camera
    height: Range
    """Height of the camera above the road."""
    pitch: Range
    """Angle of view below the horizontal."""
    yaw: float
    """Standard deviation of the heading relative to the street."""
    field_of_view: Range
    """Horizontal angle of view."""
    bonnet: float
    """Share of image height covered by the ego vehicle (label 1, ignored), as in Cityscapes."""

    # Light
    sun_azimuth: Range
    """Direction of the sun; 0 = ahead, 90 = right."""
    sun_elevation: Range
    """Elevation of the sun."""
    ambient: Range
    """Share of ambient light; 1 - ambient comes from the sun."""
    shadow: Range
    """Darkness of cast shadows, 0..1."""
    contact: float
    """Darkness under vehicles and feet, 0..1."""
    haze: Range
    """Distance at which 63 % of an object's colour is gone."""
    sky_top: Palette
    """Colour of the zenith."""
    sky_low: Palette
    """Colour of the horizon, also of the haze."""
    clouds: Range
    """Opacity of the clouds."""
    cloud_softness: float
    """0 = hard edges, 1 = no edges."""

    # Materials
    road: Palette
    marking: Palette
    sidewalk: Palette
    terrain: Palette
    leaf: Palette
    facade: Palette
    roof: Palette
    wall: Palette
    fence: Palette
    pole: Palette
    car: Palette
    truck: Palette
    bus: Palette
    cycle: Palette
    clothes: Palette
    glass: Palette
    colour_jitter: float
    """Standard deviation of each object's colour, in grey levels."""
    texture: dict[str, float]
    """Contrast of each material's texture; other materials have none."""
    joints: float
    """Visibility of the joints of bricks and paving stones, 0..1."""
    window_variation: float
    """Variation in brightness of one house's windows, 0..1."""
    leafiness: float
    """Raggedness of the outlines of trees, 0..1."""
    repairs: float
    """Number of asphalt patches on the road."""

    # Camera response
    exposure: Range
    """Factor on all light, drawn log-uniformly."""
    cast: float
    """Standard deviation of the (log) gains of red and blue."""
    warmth: float
    """Mean (log) gain of red over blue."""
    contrast: Range
    """Exponent around middle grey."""
    saturation: Range
    """1 = as painted, 0 = grey."""
    vignette: Range
    """Light lost in the corners."""
    blur: Range
    """Gaussian blur, in pixels of a 256 pixel wide image."""
    noise: Range
    """Standard deviation of the sensor noise at middle grey, in grey levels."""

    # Objects in the streets
    lanes: tuple[float, float]
    """Probabilities of one and of two lanes a direction."""
    bend: float
    """Standard deviation of the curvature, 1/m."""
    crossing: float
    """Share of frames with a crossing street."""
    verge: float
    """Share of streets with grass along the road."""
    lots: dict[str, float]
    """Relative frequency of the kinds of plots along the street."""
    storeys: tuple[int, int]
    """Fewest and most storeys of a house."""
    parked: float
    """Share of parking places taken."""
    driving: float
    trucks: float
    buses: float
    motorcycles: float
    bicycles: float
    riders: float
    people: float
    trees: float
    """Share of places for street trees that have one."""
    lamps: float
    """Share of places for street lamps that have one."""
    signs: float
    lights: float
    """Traffic lights away from crossings; crossings always have some."""


SOURCE = Look(
    height=(1.9, 2.2),
    pitch=(2.0, 5.0),
    yaw=2.0,
    field_of_view=(66.0, 74.0),
    bonnet=0.0,
    sun_azimuth=(215.0, 215.0),
    sun_elevation=(50.0, 50.0),
    ambient=(0.66, 0.66),
    shadow=(0.0, 0.0),
    contact=0.35,
    haze=(900.0, 1200.0),
    sky_top=((58, 128, 232), (74, 146, 240), (92, 150, 228)),
    sky_low=((176, 214, 250), (190, 222, 248)),
    clouds=(0.5, 0.95),
    cloud_softness=0.05,
    road=((86, 88, 96), (94, 95, 102), (80, 82, 92)),
    marking=((252, 252, 250), (252, 216, 70)),
    sidewalk=((204, 188, 168), (212, 196, 172), (198, 178, 160)),
    terrain=((118, 186, 70), (128, 192, 82), (108, 176, 64)),
    leaf=((52, 150, 52), (70, 164, 58), (44, 132, 60)),
    facade=(
        (236, 196, 120),
        (232, 150, 112),
        (240, 226, 190),
        (150, 190, 224),
        (214, 120, 110),
        (176, 208, 164),
        (244, 214, 150),
    ),
    roof=((206, 84, 58), (184, 70, 56), (120, 92, 90)),
    wall=((224, 208, 176), (206, 178, 150)),
    fence=((250, 250, 246), (178, 118, 66)),
    pole=((120, 126, 138), (96, 104, 118)),
    car=(
        (222, 40, 40),
        (36, 92, 214),
        (250, 204, 40),
        (36, 170, 96),
        (245, 245, 245),
        (250, 128, 32),
        (40, 44, 54),
    ),
    truck=((240, 240, 240), (226, 70, 50), (52, 110, 200), (250, 190, 50)),
    bus=((250, 196, 30), (220, 50, 50), (50, 140, 220)),
    cycle=((220, 40, 60), (30, 110, 220), (30, 34, 40)),
    clothes=(
        (230, 50, 60),
        (40, 100, 220),
        (250, 210, 60),
        (60, 180, 110),
        (245, 245, 245),
        (160, 70, 190),
        (50, 60, 90),
    ),
    glass=((96, 150, 196), (82, 130, 176)),
    colour_jitter=8.0,
    texture={},
    joints=0.0,
    window_variation=0.0,
    leafiness=0.25,
    repairs=0.0,
    exposure=(0.85, 1.15),
    cast=0.0,
    warmth=0.0,
    contrast=(1.0, 1.0),
    saturation=(1.05, 1.15),
    vignette=(0.0, 0.0),
    blur=(0.0, 0.0),
    noise=(0.5, 1.5),
    lanes=(0.45, 0.55),
    bend=0.0012,
    crossing=0.5,
    verge=0.5,
    lots={"house": 0.5, "villa": 0.2, "park": 0.14, "yard": 0.16},
    storeys=(2, 7),
    parked=0.3,
    driving=2.6,
    trucks=0.55,
    buses=0.4,
    motorcycles=0.5,
    bicycles=0.5,
    riders=0.6,
    people=5.0,
    trees=0.45,
    lamps=0.7,
    signs=1.6,
    lights=0.3,
)

TARGET = Look(
    height=(1.15, 1.4),
    pitch=(-1.5, 1.5),
    yaw=3.5,
    field_of_view=(50.0, 56.0),
    bonnet=0.055,
    sun_azimuth=(0.0, 360.0),
    sun_elevation=(22.0, 60.0),
    ambient=(0.55, 0.85),
    shadow=(0.1, 0.55),
    contact=0.6,
    haze=(140.0, 500.0),
    sky_top=((168, 184, 206), (196, 202, 208), (136, 168, 208)),
    sky_low=((222, 224, 224), (232, 228, 218), (208, 214, 220)),
    clouds=(0.2, 0.8),
    cloud_softness=0.8,
    road=((108, 104, 102), (122, 116, 110), (98, 98, 100), (114, 114, 118)),
    marking=((190, 188, 182), (206, 204, 200), (172, 168, 160)),
    sidewalk=((138, 130, 122), (154, 138, 124), (122, 120, 120), (148, 132, 122)),
    terrain=((124, 122, 82), (104, 116, 72), (138, 126, 96), (96, 112, 66)),
    leaf=((62, 92, 44), (78, 104, 52), (54, 82, 48), (92, 104, 56)),
    facade=(
        (146, 112, 96),
        (168, 156, 142),
        (128, 118, 112),
        (186, 176, 156),
        (122, 90, 78),
        (152, 146, 144),
        (172, 148, 118),
    ),
    roof=((112, 76, 66), (86, 82, 84), (98, 70, 62)),
    wall=((140, 130, 120), (126, 96, 84), (118, 118, 118)),
    fence=((88, 94, 88), (112, 96, 80), (70, 76, 78)),
    pole=((128, 130, 130), (84, 88, 88), (150, 148, 142)),
    car=(
        (214, 216, 218),
        (150, 154, 158),
        (44, 46, 50),
        (84, 88, 94),
        (40, 52, 84),
        (112, 34, 36),
        (70, 84, 78),
    ),
    truck=((206, 206, 202), (120, 126, 132), (70, 88, 116), (150, 120, 84)),
    bus=((206, 204, 196), (156, 50, 46), (110, 128, 120)),
    cycle=((46, 46, 50), (96, 98, 102), (84, 40, 40)),
    clothes=(
        (44, 46, 54),
        (70, 72, 78),
        (40, 52, 84),
        (112, 100, 88),
        (96, 44, 46),
        (140, 140, 138),
        (64, 72, 58),
    ),
    glass=((70, 78, 84), (92, 98, 102), (54, 58, 62)),
    colour_jitter=10.0,
    texture={
        "asphalt": 0.06,
        "paving": 0.08,
        "grass": 0.16,
        "plaster": 0.08,
        "leaf": 0.26,
        "metal": 0.04,
        "cloth": 0.10,
    },
    joints=0.55,
    window_variation=0.8,
    leafiness=0.9,
    repairs=2.5,
    exposure=(0.9, 1.5),
    cast=0.05,
    warmth=0.06,
    contrast=(0.95, 1.25),
    saturation=(0.8, 1.05),
    vignette=(0.15, 0.4),
    blur=(0.3, 0.75),
    noise=(2.0, 5.5),
    lanes=(0.7, 0.3),
    bend=0.002,
    crossing=0.4,
    verge=0.3,
    lots={"house": 0.66, "villa": 0.08, "park": 0.12, "yard": 0.14},
    storeys=(3, 6),
    parked=0.55,
    driving=2.2,
    trucks=0.35,
    buses=0.3,
    motorcycles=0.35,
    bicycles=1.2,
    riders=0.8,
    people=6.5,
    trees=0.5,
    lamps=0.6,
    signs=2.4,
    lights=0.5,
)
