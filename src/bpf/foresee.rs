//! What the loader would come to on a kernel that does not run: the object relocated against that kernel's types, and all
//! that its programs use held against that kernel's version and options. Loads nothing, looks at nothing of this machine.

mod place;

use std::{cell::OnceCell, io::Read, os::fd::RawFd};

use aya_obj::{
    EbpfSectionKind, Map, Object,
    btf::Btf,
    generated::{BPF_F_SLEEPABLE, BPF_F_XDP_HAS_FRAGS, bpf_insn, bpf_prog_type as P},
};
use object::Endianness;

use super::{
    against::{needs_types, relocate_against, resolve},
    btf,
    fault::{missing_call, of_btf, untyped_symbol},
    job::{Job, ProgramJob},
    kind::Kind,
    layout::Layout,
    load::{btf_id, btf_name, kernel_type, look_up},
    open,
    since::{self, List},
    walk::{Use, Walk},
};
use crate::{
    config::PinName,
    error::{Cause, Fault},
    facts::KernelVersion,
    target::{Has, Target},
};

/// What is foreseen for one object.
#[derive(Clone, Debug, Default)]
pub struct Outlook {
    /// Why it cannot be loaded at all.
    pub object: Option<Fault>,
    /// Its maps: name, layout, and why it cannot be made.
    pub maps: Vec<(String, String, Option<Fault>)>,
    /// Its programs.
    pub programs: Vec<(PinName, Prospect)>,
}

/// What is foreseen for one program.
#[derive(Clone, Debug)]
pub enum Prospect {
    /// It would be loaded, and attached where it is to be; with what the reader should know.
    Loads(String),
    /// That cannot be told, and why.
    Unknown(String),
    /// It would fail.
    Fails(Fault),
}

/// Why no yes is given.
enum Miss {
    Fault(Fault),
    Untold(String),
}

impl From<Fault> for Miss {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// The kernel to judge for, its BTF parsed at most once.
pub struct Kernel<'a> {
    target: &'a Target,
    btf: OnceCell<Result<Btf, Fault>>,
}

impl Outlook {
    /// What becomes of a program.
    pub fn of(&self, name: &PinName) -> Option<&Prospect> {
        self.programs.iter().find_map(|(program, prospect)| (program == name).then_some(prospect))
    }
}

impl<'a> Kernel<'a> {
    /// The kernel.
    pub const fn new(target: &'a Target) -> Self {
        Self { target, btf: OnceCell::new() }
    }

    /// Judges an object.
    pub fn foresee(&self, job: &Job) -> Outlook {
        let mut outlook = Outlook::default();
        // What nobody asks for there stays out of the small build.
        if !cfg!(feature = "workbench") {
            return outlook;
        }
        let untold = match self.relocated(job) {
            Ok((object, maps)) => {
                outlook.maps = maps.iter().map(|(name, map)| self.map(job, name, map)).collect();
                // A map that cannot be made leaves nothing of its object.
                outlook.object = outlook.maps.iter().find_map(|(_, _, fault)| fault.clone());
                let prospect = |program: &ProgramJob| match self.program(job, program, &object, &maps) {
                    Ok(note) => Prospect::Loads(note),
                    Err(Miss::Untold(why)) => Prospect::Unknown(why),
                    Err(Miss::Fault(fault)) => Prospect::Fails(fault),
                };
                outlook.programs =
                    job.programs.iter().map(|program| (program.name.clone(), prospect(program))).collect();
                return outlook;
            }
            Err(Miss::Untold(why)) => Some(why),
            Err(Miss::Fault(fault)) => {
                outlook.object = Some(fault);
                None
            }
        };
        if let Some(why) = untold {
            let unknown = |program: &ProgramJob| (program.name.clone(), Prospect::Unknown(why.clone()));
            outlook.programs = job.programs.iter().map(unknown).collect();
        }
        outlook
    }

    /// The kernel's BTF, or why there is none.
    fn btf(&self) -> Result<&Btf, Miss> {
        let Some(bytes) = &self.target.btf else {
            return Err(match self.target.option("DEBUG_INFO_BTF") {
                Some(_) => Miss::Untold("without --btf the types of that kernel are not known".into()),
                None => Fault::new(Cause::Kernel, "it needs the kernel's BTF, and CONFIG_DEBUG_INFO_BTF is not set")
                    .mend("a kernel with CONFIG_DEBUG_INFO_BTF=y, or optional = true")
                    .into(),
            });
        };
        let parsed = self.btf.get_or_init(|| Btf::parse(bytes, Endianness::default()).map_err(|error| of_btf(&error)));
        parsed.as_ref().map_err(|fault| fault.clone().into())
    }

    /// The object as the loader would have it, with its maps; a map's place stands for its descriptor.
    fn relocated(&self, job: &Job) -> Result<(Object, Vec<(String, Map)>), Miss> {
        let mut object = open::read(job)?;
        open::type_info(&mut object, self.target.version)?;
        if btf::untyped_symbols(&job.bytes.elf) {
            return Err(untyped_symbol().into());
        }
        match &job.btf {
            _ if !needs_types(&object) => resolve(&mut object, None)?,
            Some(own) => {
                let (mut bytes, shown) = (Vec::new(), own.path.display());
                (&*own.file)
                    .read_to_end(&mut bytes)
                    .map_err(|error| Fault::io(Cause::Object, format!("read the BTF file {shown}"), &error))?;
                let btf = Btf::parse(&bytes, Endianness::default())
                    .map_err(|error| Fault::new(Cause::Object, format!("read the BTF file {shown}: {error}")))?;
                relocate_against(&mut object, Ok(&btf))?;
            }
            None => match self.btf() {
                Ok(btf) => relocate_against(&mut object, Ok(btf))?,
                Err(Miss::Fault(fault)) => relocate_against(&mut object, Err(fault))?,
                Err(untold) => return Err(untold),
            },
        }
        let mut named = |name: &String| Some((name.clone(), object.maps.remove(name)?));
        let maps: Vec<(String, Map)> = job.maps.iter().filter_map(|(name, _)| named(name)).collect();
        let places = (0..).zip(&maps).map(|(place, (name, map))| (name.as_str(), place, map));
        open::relocate(&mut object, places, self.target.version)?;
        Ok((object, maps))
    }

    fn map(&self, job: &Job, name: &str, map: &Map) -> (String, String, Option<Fault>) {
        let mut layout = Layout::of(map);
        let wish = job.maps.get(name).and_then(|wish| wish.max_entries);
        layout.max_entries = wish.unwrap_or(layout.max_entries);
        let inner = map.inner().map(|inner| inner.map_type());
        let types = [Some(layout.map_type), inner];
        let fault = types.into_iter().flatten().find_map(|kind| self.map_type(kind).err());
        let fault = fault.or_else(|| self.map_flags(layout.flags).err());
        (name.to_owned(), layout.to_string(), fault.map(|fault| fault.about(format_args!("map {name}"))))
    }

    fn map_type(&self, kind: u32) -> Result<(), Fault> {
        let Some((word, since)) = since::known(List::Maps, kind) else { return Ok(()) };
        self.target.since(since, format_args!("map of type {word}"))?;
        self.target.has("map", word).map(drop)
    }

    /// BPF_F_* of include/uapi/linux/bpf.h that are younger than most types.
    fn map_flags(&self, flags: u32) -> Result<(), Fault> {
        for (flag, word, minor) in
            [(1 << 10, "BPF_F_MMAPABLE", 5), (1 << 11, "BPF_F_PRESERVE_ELEMS", 10), (1 << 12, "BPF_F_INNER_MAP", 10)]
        {
            if flags & flag != 0 {
                self.target.since(KernelVersion { major: 5, minor }, word)?;
            }
        }
        Ok(())
    }

    fn program(
        &self,
        job: &Job,
        program: &ProgramJob,
        object: &Object,
        maps: &[(String, Map)],
    ) -> Result<String, Miss> {
        let (parsed, function) = look_up(object, program)
            .ok_or_else(|| Fault::new(Cause::Object, format!("aya cannot load section {:?}", program.section)))?;
        let (kind, attach, flags) = kernel_type(&parsed.section, &program.section);
        self.kind(program, kind, attach, flags)?;
        if let Some((name, of)) = btf_name(&parsed.section, &program.load_target) {
            btf_id(self.btf()?, &name, of, program)?;
        }
        self.instructions(&function.instructions, kind, maps)?;
        if job.xdp.iter().any(|xdp| xdp.program == program.name) {
            return Ok("whether there is such an interface, and its driver takes it, is not looked at".into());
        }
        let mut note = String::new();
        for wish in &program.attach {
            note = self.place(program, wish)?;
        }
        Ok(note)
    }

    fn kind(&self, program: &ProgramJob, kind: P, attach: u32, flags: u32) -> Result<(), Miss> {
        let number = kind as u32;
        if let Some((word, since)) = since::known(List::Programs, number) {
            self.target.since(since, format_args!("{} programs", program.kind.word()))?;
            self.target.has("program", word)?;
        }
        let late = kind == P::BPF_PROG_TYPE_KPROBE && program.attach.is_empty();
        // Some kinds have taken any attachment before they knew one (bpf_prog_load_check_attach()).
        let any = matches!(kind, P::BPF_PROG_TYPE_XDP | P::BPF_PROG_TYPE_SK_REUSEPORT);
        if attach != 0
            && !any
            && !late
            && let Some((word, since)) = since::known(List::Attachments, attach)
        {
            self.target.since(since, format_args!("attachment {word}"))?;
        }
        if flags & BPF_F_SLEEPABLE != 0 {
            let (major, minor) = match program.kind {
                Kind::Uprobe | Kind::Uretprobe => (6, 0),
                // Before, one hook alone could (btf_sleepable_lsm_hooks of 5.10); since, most can.
                Kind::Lsm if program.load_target != "bprm_committed_creds" => (5, 11),
                _ => (5, 10),
            };
            let since = KernelVersion { major, minor };
            self.target.since(since, format_args!("{} programs that sleep", program.kind.word()))?;
            if matches!(program.kind, Kind::Fentry | Kind::Fexit) {
                self.may_sleep(&program.load_target)?;
            }
        }
        if flags & BPF_F_XDP_HAS_FRAGS != 0 {
            self.target.since(KernelVersion { major: 5, minor: 18 }, "xdp programs for packets in fragments")?;
        }
        Ok(())
    }

    /// Whether what is attached to a function may sleep there: where it may be told to fail, which no BTF tells
    /// (check_attach_btf_id() in kernel/bpf/verifier.c).
    fn may_sleep(&self, function: &str) -> Result<(), Miss> {
        let since = |major, minor| !self.target.older_than(KernelVersion { major, minor });
        let listed = self.target.has("sleep", "function");
        match () {
            // Seen on 7.3, where no function may be told to fail; not on 6.12.
            () if since(7, 3) && function.contains("_sys_") => Ok(()),
            () if listed.is_ok() || since(6, 13) => {
                Err(Miss::Untold(format!("whether programs may sleep in {function}, which no BTF tells")))
            }
            () => Ok(listed
                .map(drop)
                .map_err(|fault| fault.about(format_args!("a program cannot sleep in {function}")))?),
        }
    }

    fn instructions(&self, code: &[bpf_insn], kind: P, maps: &[(String, Map)]) -> Result<(), Fault> {
        let constant = |place: RawFd, offset: u64, size: usize| {
            let (_, map) = maps.get(usize::try_from(place).ok()?)?;
            let from = usize::try_from(offset).ok()?;
            let bytes = map.data().get(from..from.checked_add(size)?)?;
            let number = bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte));
            (map.section_kind() == EbpfSectionKind::Rodata).then_some(number)
        };
        let walk = Walk::of(code, &constant);
        for form in &walk.forms {
            let (word, since) = since::form(*form);
            self.target.since(since, word)?;
            self.target.has("form", word)?;
        }
        for (_, used) in &walk.uses {
            if let Use::Helper(id) = used {
                self.helper(*id, kind)?;
            }
        }
        Ok(())
    }

    fn helper(&self, id: u32, kind: P) -> Result<(), Fault> {
        if let Some(missing) = missing_call(id) {
            return Err(Fault::new(Cause::Kernel, missing).mend("optional = true on the program, or another kernel"));
        }
        let Some((word, since)) = since::known(List::Helpers, id) else { return Ok(()) };
        self.target.since(since, format_args!("helper bpf_{word}()"))?;
        let about = |fault: Fault| fault.about(format_args!("helper bpf_{word}()"));
        if self.target.has("helper", word).map_err(about)? == Has::Untold
            && let Some((kind, _)) = since::known(List::Programs, kind as u32)
        {
            // Some came to a kind of program later than to others.
            self.target.has("helper", &format!("{kind}/{word}")).map_err(about)?;
        }
        Ok(())
    }
}
