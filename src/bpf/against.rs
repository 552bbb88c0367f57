//! An object held against the types of a kernel, the running one or another.

use aya_obj::{Object, btf::Btf};

use super::fault::of_relocation;
use crate::error::Fault;

/// Whether an object must be held against a kernel's types.
pub(super) fn needs_types(object: &Object) -> bool {
    object.has_btf_relocations() || object.has_typed_ksyms()
}

/// Gives the kernel's symbols their places.
///
/// # Errors
/// What [`of_relocation`] says.
pub(super) fn resolve(object: &mut Object, btf: Option<&Btf>) -> Result<(), Fault> {
    object.resolve_externs(btf).map_err(|error| of_relocation(&error))
}

/// The same against the BTF of `target`, or why there is none.
///
/// # Errors
/// What [`of_relocation`] says, or the fault of the target.
pub(super) fn relocate_against(object: &mut Object, target: Result<&Btf, Fault>) -> Result<(), Fault> {
    match target {
        Ok(btf) => {
            object.relocate_btf(btf).map_err(|error| of_relocation(&error))?;
            resolve(object, Some(btf))
        }
        // Weak symbols may stay unresolved; nothing else may.
        Err(_) if !object.has_btf_relocations() && !object.has_strong_typed_ksyms() => resolve(object, None),
        Err(fault) => Err(fault),
    }
}
