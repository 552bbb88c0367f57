//! Which program jumps to which, and how many jumps a packet or an event can make.

use crate::config::Table;

/// MAX_TAIL_CALL_CNT in include/linux/bpf.h: what comes after that many jumps is not run.
pub const JUMPS_MAX: usize = 33;

/// Most jumps that are followed.
const WAY_MAX: usize = 1000;

/// One place that jumps.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Jump {
    /// The map of programs; `None`: which one is known only at run time.
    pub map: Option<String>,
    /// The indices it can take, the first and the last.
    pub indices: (i64, i64),
    /// The programs that are known to stand there.
    pub to: Vec<String>,
}

/// The longest way of jumps from a program.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Way {
    /// The programs along it, the first not among them. Of a way that comes back to itself, one round.
    pub programs: Vec<String>,
    /// It comes back to a program that it was at: only the kernel's limit ends it.
    pub endless: bool,
}

/// The programs behind the indices of a map that a jump can take.
pub fn targets(slots: Option<&Table<u32, String>>, indices: (i64, i64)) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for (index, name) in slots.into_iter().flatten() {
        if (indices.0..=indices.1).contains(&i64::from(*index)) && !names.contains(name) {
            names.push(name.clone());
        }
    }
    names
}

/// The longest ways, by program, of programs that jump.
pub fn ways(jumps: &[(String, Vec<Jump>)]) -> Vec<Way> {
    let mut known: Vec<Option<Way>> = vec![None; jumps.len()];
    (0..jumps.len()).map(|from| longest(jumps, from, &mut vec![], &mut known)).collect()
}

fn longest(jumps: &[(String, Vec<Jump>)], from: usize, on: &mut Vec<usize>, known: &mut Vec<Option<Way>>) -> Way {
    if let Some(Some(way)) = known.get(from) {
        return way.clone();
    }
    if on.len() > WAY_MAX {
        return Way::default();
    }
    on.push(from);
    let mut best = Way::default();
    for name in jumps.get(from).into_iter().flat_map(|(_, jumps)| jumps).flat_map(|jump| &jump.to) {
        let Some(to) = jumps.iter().position(|(program, _)| program == name) else { continue };
        let mut way = match on.contains(&to) {
            true => Way { programs: Vec::new(), endless: true },
            false => longest(jumps, to, on, known),
        };
        way.programs.insert(0, name.clone());
        if (way.endless, way.programs.len()) > (best.endless, best.programs.len()) {
            best = way;
        }
    }
    on.pop();
    if let Some(place) = known.get_mut(from) {
        *place = Some(best.clone());
    }
    best
}
