//! The look itself: an object is read as for loading, its maps are given numbers in place of descriptors, and each of its
//! programs is walked.

use std::sync::OnceLock;

use aya_obj::{EbpfSectionKind, Function, Object};

use super::{
    super::{
        btf::Types,
        elf,
        job::{Job, ProgramJob},
        kind::why_not,
        layout::{Layout, Machine},
        load as loading,
        open::{self, KernelBtf},
        outside::Outside,
        rewrite::core_relocations,
        since::{self, List},
        source::{self, Bytes},
        walk::{Constants, Walk},
    },
    Inspection, Program, Subprogram, Warning,
    ask::ask,
    calls::{self, Calls},
    gpl,
    needs::{self, Needs},
    stack::{self, Found},
    tail, warnings,
};
use crate::{
    config::{MapWish, ObjectSource, ObjectWish, PinName, ProgramWish, Table},
    error::{Cause, Fault},
    facts::KernelVersion,
    sys::{cpu, process},
};

/// Bytes in which a subprogram saves registers where the verifier writes a loop in place of bpf_loop(), since 5.19
/// (inline_bpf_loop() in kernel/bpf/verifier.c). They do not count against the limit.
const INLINED_LOOP: u32 = 24;

/// An object in the making of its report.
struct Look<'a> {
    job: &'a Job,
    object: Object,
    /// Its maps; the number of one in the instructions is its place here, and 1.
    maps: Vec<(String, aya_obj::Map)>,
    /// Its BTF as the kernel is given it.
    btf: Vec<u8>,
    /// Functions of the kernel that it names, with their BTF ids here.
    functions: Vec<(u32, String)>,
}

/// Inspects an object. `configured`: what the configuration wants of it, whose maps and globals then count. `load`: the
/// verifier is asked, too.
///
/// # Errors
/// A [`Cause::Object`] fault: it cannot be read, or is no object.
pub fn inspect(
    source: &ObjectSource,
    configured: Option<&ObjectWish>,
    allow_untrusted: bool,
    load: bool,
) -> Result<Inspection, Fault> {
    let bytes = source::read(source, allow_untrusted)?;
    inspect_bytes(bytes, configured.cloned().map_or_else(|| wish(source), Ok)?, load)
}

/// The same of bytes that were read; of the wish, the maps and globals count.
///
/// # Errors
/// As [`inspect`].
pub fn inspect_bytes(bytes: Bytes, mut wish: ObjectWish, load: bool) -> Result<Inspection, Fault> {
    elf::check(&bytes.elf)?;
    let shape = elf::look(&bytes.elf)?;
    let mut seen =
        Inspection { bytes: bytes.elf.len(), typed: shape.typed, globals: shape.globals, ..Inspection::default() };
    let mut programs = Table::default();
    for program in &shape.programs {
        programs.insert(program.name.clone(), ProgramWish::default());
    }
    wish.programs = Some(programs).filter(|_| !shape.programs.is_empty());
    wish.alternatives.clear();
    let job = Job::new(&wish, bytes, None)?;
    seen.sha256 = job.sha256();
    seen.relocations = core_relocations(&job.bytes.elf).unwrap_or(0);
    let outside = Outside::of_kernel();
    let kernel = KernelBtf { outside: &outside, parsed: OnceLock::new() };
    let mut look = Look::open(&job, &kernel, &mut seen)?;
    seen.license = look.object.license.to_string_lossy().into_owned();
    seen.gpl = gpl::is_compatible(&seen.license);
    let mut needs = Needs::default();
    let machine = Machine { page: process::page_size(), cpus: cpu::possible() };
    for (name, map) in &look.maps {
        let layout = Layout::wanted(map, job.maps.get(name).unwrap_or(&MapWish::default()), machine);
        needs.of_map(layout.map_type, name);
        seen.maps.push((name.clone(), layout.to_string()));
    }
    seen.needs_btf(&job, &look, &mut needs);
    look.programs(&mut seen, &mut needs);
    let helpers: Vec<&str> = seen.programs.iter().flat_map(|program| &program.helpers).map(String::as_str).collect();
    seen.capabilities = needs::capabilities(&job, &helpers);
    seen.since = needs.since;
    if load {
        ask(&job, &kernel, machine, &mut seen);
    }
    Ok(seen)
}

/// An object that nothing is configured of.
fn wish(source: &ObjectSource) -> Result<ObjectWish, Fault> {
    let name = "inspected".parse::<PinName>().map_err(|error| Fault::new(Cause::Object, error.to_string()))?;
    Ok(ObjectWish::bare(name, source.clone()))
}

impl<'a> Look<'a> {
    fn open(job: &'a Job, kernel: &'a KernelBtf<'a>, seen: &mut Inspection) -> Result<Self, Fault> {
        let mut object = open::read(job)?;
        let btf = open::type_info(&mut object, KernelVersion::running())?.unwrap_or_default();
        // As they were written: aya makes variables of them, as the kernel wants it.
        let named = elf::section(&job.bytes.elf, b".BTF").and_then(Types::read).map(|types| types.functions(".ksyms"));
        let mut lost = open::relocate_types(job, &mut object, kernel).err();
        let mut maps: Vec<(String, aya_obj::Map)> = Vec::new();
        for map in std::mem::take(&mut object.maps) {
            maps.insert(maps.partition_point(|(name, _)| *name < map.0), map);
        }
        let places = maps.iter().zip(1..).map(|((name, map), number)| (name.as_str(), number, map));
        lost = lost.or(open::relocate(&mut object, places, KernelVersion::running()).err());
        if let Some(fault) = lost {
            let what = format!("what it does was not followed to the end, for want of this kernel: {fault}");
            seen.warnings.push(Warning { program: String::new(), what, mend: fault.mend.clone(), refuses: false });
        }
        let id = |name: &str| kernel.get().ok()?.id_by_type_name_kind(name, aya_obj::btf::BtfKind::Func).ok();
        let functions = named.into_iter().flatten().filter_map(|name| Some((id(&name)?, name))).collect();
        Ok(Self { job, object, maps, btf, functions })
    }

    fn map_name(&self, number: i32) -> Option<String> {
        let at = usize::try_from(number).ok()?.checked_sub(1)?;
        self.maps.get(at).map(|(name, _)| name.clone())
    }

    /// A constant of the object.
    fn constant(&self, map: i32, at: u64, size: usize) -> Option<u64> {
        let (_, map) = self.maps.get(usize::try_from(map).ok()?.checked_sub(1)?)?;
        let at = usize::try_from(at).ok()?;
        let bytes =
            map.data().get(at..at.checked_add(size)?).filter(|_| map.section_kind() == EbpfSectionKind::Rodata)?;
        let mut wide = [0; 8];
        wide.get_mut(..size)?.copy_from_slice(bytes);
        Some(u64::from_le_bytes(wide))
    }

    fn programs(&mut self, seen: &mut Inspection, needs: &mut Needs) {
        let (mut unknown, mut jumps) = (Vec::new(), Vec::new());
        for job in &self.job.programs {
            let mut program = Program {
                name: job.name.to_string(),
                section: job.section.clone(),
                kind: job.kind.word(),
                ..Program::default()
            };
            match loading::look_up(&self.object, job) {
                Some((parsed, function)) => {
                    needs.of_program(loading::kernel_type(&parsed.section, &job.section), &program.name);
                    self.follow(job, function, &mut program, seen, needs, &mut unknown);
                }
                None => seen.warnings.push(Warning {
                    program: program.name.clone(),
                    what: why_not(&job.section),
                    mend: String::new(),
                    refuses: false,
                }),
            }
            jumps.push((program.name.clone(), program.jumps.clone()));
            seen.programs.push(program);
        }
        for (program, way) in seen.programs.iter_mut().zip(tail::ways(&jumps)) {
            program.way = way;
        }
        seen.warn(&unknown);
    }

    fn follow(
        &self,
        job: &ProgramJob,
        function: &Function,
        program: &mut Program,
        seen: &mut Inspection,
        needs: &mut Needs,
        unknown: &mut Vec<(String, u32)>,
    ) {
        let code = function.instructions.as_slice();
        let constants: &Constants<'_> = &|map, at, size| self.constant(map, at, size);
        program.instructions = code.len();
        let walk = Walk::of(code, constants);
        needs.of_code(&walk, &program.name);
        for helper in walk.helpers() {
            match since::known(List::Helpers, helper) {
                Some((name, _)) => program.helpers.push(name.to_owned()),
                None => unknown.push((program.name.clone(), helper)),
            }
        }
        let used = walk.kernel_functions();
        let name = |(id, of): &(u32, u16)| {
            let known = self.functions.iter().find(|(known, _)| known == id && *of == 0);
            known.map_or_else(|| format!("#{id}"), |(_, name)| name.clone())
        };
        program.functions = used.iter().map(name).collect();
        program.maps = walk.maps().into_iter().filter_map(|number| self.map_name(number)).collect();
        let (names, subprograms) = self.subprograms(program, function);
        let found = stack::Walk { code, subprograms: &subprograms, constants }.all();
        self.sum_up(job, program, seen, code, (names, &subprograms), found);
    }

    /// The functions of a linked program: their names, and where they are.
    fn subprograms(&self, program: &Program, function: &Function) -> (Vec<String>, Vec<stack::Subprogram>) {
        let types = Types::read(&self.btf);
        let starts = calls::starts(&function.instructions);
        let (mut names, mut subprograms) = (Vec::new(), Vec::new());
        for (nth, start) in starts.iter().enumerate() {
            let info = function.func_info.func_info.iter().find(|info| info.insn_off as usize == *start);
            let typed = info.and_then(|info| types.as_ref()?.function(info.type_id));
            let (name, global) = match typed {
                Some((name, global)) => (name, global),
                None => (format!("function at {start}"), None),
            };
            // The program itself is looked at as a function of its own in any case.
            let (name, global) = if nth == 0 { (program.name.clone(), None) } else { (name, global) };
            let end = starts.get(nth + 1).copied().unwrap_or(function.instructions.len());
            names.push(name);
            subprograms.push(stack::Subprogram { start: *start, end, global });
        }
        (names, subprograms)
    }

    fn sum_up(
        &self,
        job: &ProgramJob,
        program: &mut Program,
        seen: &mut Inspection,
        code: &[aya_obj::generated::bpf_insn],
        (names, subprograms): (Vec<String>, &[stack::Subprogram]),
        found: Found,
    ) {
        let sizes = subprograms.iter().map(|subprogram| subprogram.end - subprogram.start);
        program.subprograms = names
            .into_iter()
            .zip(sizes)
            .zip(&found.depths)
            .enumerate()
            .map(|(nth, ((name, instructions), stack))| {
                let registers = if found.loops.contains(&nth) { INLINED_LOOP } else { 0 };
                Subprogram { name, instructions, stack: stack.map(|stack| stack + registers) }
            })
            .collect();
        program.vague = found.vague;
        let depths: Vec<u32> = found.depths.iter().map(|depth| depth.unwrap_or(0)).collect();
        let calls = Calls::of(code, subprograms, &found.later);
        let chains = calls.chains(&depths, &found.later);
        seen.warnings.extend(warnings::of_stack(program, job.kind, seen.typed, &calls, &chains, &depths));
        let name = |number: &usize| program.subprograms.get(*number).map_or_else(String::new, |sub| sub.name.clone());
        program.chains = chains.iter().map(|chain| (chain.path.iter().map(name).collect(), chain.bytes)).collect();
        for jump in found.tail_calls {
            let map = jump.map.and_then(|number| self.map_name(number));
            let slots = map.as_ref().and_then(|map| self.job.maps.get(map)).map(|map| &map.programs);
            let to = tail::targets(slots, jump.indices);
            program.jumps.push(tail::Jump { map, indices: jump.indices, to });
        }
    }
}

impl Inspection {
    fn needs_btf(&mut self, job: &Job, look: &Look<'_>, needs: &mut Needs) {
        if self.relocations > 0 {
            self.kernel_btf.push(format!("{} CO-RE relocations", self.relocations));
        }
        if look.object.has_strong_typed_ksyms() {
            self.kernel_btf.push("symbols of the kernel".to_owned());
        }
        for program in job.programs.iter().filter(|program| program.kind.needs_kernel_btf()) {
            self.kernel_btf.push(format!("{} ({})", program.name, program.kind.word()));
        }
        for why in &self.kernel_btf {
            needs.of_btf(why);
        }
    }
}
