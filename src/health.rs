//! The health of a run and its exit code: the only file that knows the numbers (DESIGN.md section 6).

/// What a run came to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Health {
    /// All as planned.
    Healthy,
    /// Failed; undone, nothing left.
    Failed,
    /// Bad usage or bad configuration; nothing was touched.
    BadInput,
    /// Only optional items failed.
    Degraded,
    /// Failed, and the undo was not complete.
    Dirty,
    /// `check` only: the kernel is not as planned.
    Drift,
}

impl Health {
    /// Every one.
    pub const ALL: [Self; 6] = [Self::Healthy, Self::Failed, Self::BadInput, Self::Degraded, Self::Dirty, Self::Drift];

    /// The process's exit code.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Healthy => 0,
            Self::Failed => 1,
            Self::BadInput => 2,
            Self::Degraded => 3,
            Self::Dirty => 4,
            Self::Drift => 5,
        }
    }

    /// The word in the report.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Failed => "failed",
            Self::BadInput => "bad-input",
            Self::Degraded => "degraded",
            Self::Dirty => "dirty",
            Self::Drift => "drift",
        }
    }
}

/// What the process ends with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Exit(u8);

impl Exit {
    /// `run` did not start the command.
    pub const REFUSED: Self = Self(125);
    /// `run`: the command cannot be executed.
    pub const NOT_EXECUTABLE: Self = Self(126);
    /// `run`: the command is not there.
    pub const NOT_FOUND: Self = Self(127);

    /// The process's exit code.
    pub const fn exit_code(self) -> u8 {
        self.0
    }
}

impl From<Health> for Exit {
    fn from(health: Health) -> Self {
        Self(health.exit_code())
    }
}
