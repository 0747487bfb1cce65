//! What things of the world are, and what they are called.

/// An enumeration whose variants have a word each.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($variant:ident = $word:literal,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $(#[doc = $word] $variant,)* }

        impl $name {
            /// All there are.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// What it is called.
            pub fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),* }
            }
        }
    };
}

words! {
    /// A flat figure.
    Shape {
        Circle = "circle",
        Square = "square",
        Triangle = "triangle",
        Star = "star",
        Heart = "heart",
        Ring = "ring",
        Cross = "cross",
        Diamond = "diamond",
        Hexagon = "hexagon",
        Crescent = "crescent",
    }
}

words! {
    /// The colour of a shape.
    Colour {
        Red = "red",
        Orange = "orange",
        Yellow = "yellow",
        Green = "green",
        Blue = "blue",
        Purple = "purple",
        Pink = "pink",
        Brown = "brown",
        Black = "black",
        White = "white",
    }
}

words! {
    /// What covers a shape.
    Texture {
        Plain = "plain",
        Striped = "striped",
        Dotted = "dotted",
        Checked = "checked",
    }
}

words! {
    /// What the ground behind the things looks like.
    Pattern {
        Plain = "plain",
        Gradient = "shaded",
        Stripes = "striped",
        Checks = "checkered",
        Dots = "spotted",
        Grid = "gridded",
        Patches = "cloudy",
    }
}

words! {
    /// The colours of the ground.
    Tone {
        Ivory = "ivory",
        Grey = "grey",
        Sand = "sandy",
        Sky = "pale blue",
        Mint = "pale green",
        Rose = "pale pink",
        Navy = "dark blue",
        Forest = "dark green",
    }
}

words! {
    /// A way on the picture plane.
    Direction {
        Left = "left",
        Right = "right",
        Up = "up",
        Down = "down",
    }
}

words! {
    /// A movement of the camera. A camera that pans right makes all things go left.
    CameraMove {
        PanLeft = "pans left",
        PanRight = "pans right",
        TiltUp = "tilts up",
        TiltDown = "tilts down",
        ZoomIn = "zooms in",
        ZoomOut = "zooms out",
        RollClockwise = "rolls clockwise",
        RollCounterclockwise = "rolls counterclockwise",
    }
}

impl Colour {
    /// Red, green, blue.
    pub fn rgb(self) -> [u8; 3] {
        match self {
            Self::Red => [214, 32, 36],
            Self::Orange => [246, 134, 20],
            Self::Yellow => [248, 216, 32],
            Self::Green => [36, 160, 60],
            Self::Blue => [36, 84, 220],
            Self::Purple => [130, 50, 170],
            Self::Pink => [250, 110, 180],
            Self::Brown => [124, 74, 36],
            Self::Black => [20, 20, 24],
            Self::White => [250, 250, 250],
        }
    }

    /// Whether a thing of this colour stands out against a ground of `tone`.
    pub fn stands_out(self, tone: Tone) -> bool {
        tone.rgb().iter().all(|&ground| distance(self.rgb(), ground) > 110.0)
    }
}

impl Tone {
    /// The two colours of a pattern.
    pub fn rgb(self) -> [[u8; 3]; 2] {
        match self {
            Self::Ivory => [[246, 242, 226], [226, 218, 190]],
            Self::Grey => [[176, 178, 182], [146, 148, 154]],
            Self::Sand => [[222, 198, 150], [198, 170, 118]],
            Self::Sky => [[190, 220, 244], [156, 196, 230]],
            Self::Mint => [[196, 232, 200], [160, 208, 168]],
            Self::Rose => [[246, 208, 214], [230, 178, 190]],
            Self::Navy => [[26, 36, 82], [46, 60, 116]],
            Self::Forest => [[22, 62, 44], [40, 90, 64]],
        }
    }
}

impl Direction {
    /// One step this way; y grows downwards.
    pub fn step(self) -> [f32; 2] {
        match self {
            Self::Left => [-1.0, 0.0],
            Self::Right => [1.0, 0.0],
            Self::Up => [0.0, -1.0],
            Self::Down => [0.0, 1.0],
        }
    }
}

fn distance(a: [u8; 3], b: [u8; 3]) -> f32 {
    a.iter().zip(b).map(|(&a, b)| (f32::from(a) - f32::from(b)).powi(2)).sum::<f32>().sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tone_leaves_half_of_the_colours() {
        for &tone in Tone::ALL {
            let left = Colour::ALL.iter().filter(|colour| colour.stands_out(tone)).count();
            assert!(left * 2 >= Colour::ALL.len(), "{tone:?} leaves {left}");
        }
    }
}
