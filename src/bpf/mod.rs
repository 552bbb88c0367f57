//! Programs, maps and links. The only rooms that use aya.
//!
//! ```text
//! source -> elf -> job ----> proof ----> plan ----fork----> child: open, load, attach ----pipe----> commit
//! bytes     shape  wish+shape  what is there                builds the next generation in `stage`     the flip
//! ```

mod against;
mod around;
mod attach;
mod btf;
mod budget;
mod child;
mod choice;
mod commit;
mod contents;
mod crew;
mod declared;
mod delegate;
mod elf;
mod entries;
mod estimate;
mod fault;
mod fill;
mod finish;
mod foresee;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod generation;
mod impossible;
#[cfg(feature = "workbench")]
mod inspect;
mod job;
mod kconfig;
mod kind;
mod layout;
mod load;
mod maps;
mod open;
mod outside;
mod parent;
mod pipeline;
mod plan;
mod probe;
mod proof;
mod record;
mod rewrite;
mod room;
mod since;
mod sized;
mod source;
mod status;
mod store;
mod user;
mod values;
mod verdict;
mod walk;
mod wire;

#[cfg(feature = "workbench")]
pub use budget::{Settled, Size, estimate};
pub use commit::{Committed, commit, retire};
#[cfg(feature = "workbench")]
pub use estimate::Kernel as Estimated;
pub use foresee::Prospect;
pub use generation::open_live;
pub use impossible::perf_event_paranoid;
#[cfg(feature = "workbench")]
pub use inspect::{Inspection, Program, STACK_MAX, Warning, few, inspect};
pub use job::XdpJob;
pub use kind::Kind;
pub use layout::Layout;
pub use parent::stage;
pub use plan::{Blocked, BpfPlan, ObjectPlan};
pub use probe::probe;
pub use proof::{How, XdpHow};
pub use record::Record;
pub use sized::held;
#[cfg(feature = "workbench")]
pub use sized::{SizedMap, kernel as estimated_kernel};
pub use status::look;
pub use store::Store;
pub use wire::Event;
