//! The way back from where a thread is to where it began, by the tables that compilers write for exceptions.
//! Allocates nothing and takes no lock: the thread may hold any.
use addr2line::gimli::{
    BaseAddresses, CfaRule, EhFrame, EhFrameHdr, Encoding, EndianSlice, Evaluation, EvaluationResult,
    EvaluationStorage, Expression, FrameDescriptionEntry, LittleEndian, Location, Piece, Reader, Register,
    RegisterRule, UnwindContext, UnwindContextStorage, UnwindExpression, UnwindSection, UnwindTableRow,
    Value,
};

use crate::dump::module::{Module, Modules};
use crate::sys::interrupt::{COUNT, Registers};
use crate::sys::memory::Region;

type Bytes = EndianSlice<'static, LittleEndian>;

/// All that gimli keeps, in place.
struct InPlace;

impl UnwindContextStorage<usize> for InPlace {
    type Rules = [(Register, RegisterRule<usize>); 64];
    type Stack = [UnwindTableRow<usize, Self>; 4];
}

impl<R: Reader> EvaluationStorage<R> for InPlace {
    type Stack = [Value; 32];
    type ExpressionStack = [(R, R); 2];
    type Result = [Piece<R>; 1];
}

/// A function that has not returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame {
    /// An address in its code: in the call that it waits for, or where it is.
    pub(super) at: u64,
    /// Whose code it is.
    pub(super) module: Option<usize>,
}

/// Shows the frames of a thread, the innermost first, until `see` has seen enough and says false. `stack` is what the
/// thread's stack pointer points into.
pub(super) fn walk(
    mut registers: Registers,
    stack: Region,
    modules: &mut Modules,
    mut see: impl FnMut(Frame) -> bool,
) {
    let mut context = UnwindContext::<usize, InPlace>::new_in();
    // Where a function was interrupted it is just there. Elsewhere it is behind its call, which may be another's code.
    let mut behind = 0;
    loop {
        let at = registers.at.wrapping_sub(behind);
        let module = modules.find(at);
        if !see(Frame { at, module }) {
            return;
        }
        let entry = module.and_then(|number| Entry::find(modules.get(number)?, at));
        let caller = match &entry {
            Some(entry) => entry.caller(&registers, stack, &mut context),
            None => by_frame_pointer(&registers, stack),
        };
        // A function that has not touched the stack yet has its caller's stack pointer; only the innermost can.
        let is_progress = |caller: &Registers| {
            let (own, callers) = (registers.values[Registers::STACK], caller.values[Registers::STACK]);
            callers > own || (callers == own && behind == 0)
        };
        let Some(caller) = caller.filter(|caller| caller.at != 0 && is_progress(caller)) else { return };
        behind = u64::from(!entry.is_some_and(|entry| entry.fde.is_signal_trampoline()));
        registers = caller;
    }
}

/// The caller of a function without a table, where that keeps a frame pointer.
fn by_frame_pointer(registers: &Registers, stack: Region) -> Option<Registers> {
    let frame = registers.values[Registers::FRAME];
    let mut caller = *registers;
    caller.at = strip(stack.word(frame.checked_add(8)?)?);
    caller.values[Registers::FRAME] = stack.word(frame)?;
    caller.values[Registers::STACK] = frame.checked_add(16)?;
    Some(caller)
}

/// What a table says of one function.
struct Entry {
    bases: BaseAddresses,
    tables: EhFrame<Bytes>,
    fde: FrameDescriptionEntry<Bytes>,
    at: u64,
}

impl Entry {
    fn find(module: &Module, at: u64) -> Option<Self> {
        let (index_at, region) = module.index?;
        let mut bases = BaseAddresses::default().set_eh_frame_hdr(index_at);
        let index = EhFrameHdr::new(region.bytes_from(index_at)?, LittleEndian).parse(&bases, 8).ok()?;
        let tables_at = index.eh_frame_ptr().direct().ok()?;
        bases = bases.set_eh_frame(tables_at);
        let tables = EhFrame::new(region.bytes_from(tables_at)?, LittleEndian);
        let fde = index.table()?.fde_for_address(&tables, &bases, at, EhFrame::cie_from_offset).ok()?;
        Some(Self { bases, tables, fde, at })
    }

    /// What its caller had in its registers.
    fn caller(
        &self,
        registers: &Registers,
        stack: Region,
        context: &mut UnwindContext<usize, InPlace>,
    ) -> Option<Registers> {
        let row = self.fde.unwind_info_for_address(&self.tables, &self.bases, context, self.at).ok()?;
        let cfa = match row.cfa() {
            CfaRule::RegisterAndOffset { register, offset } => {
                value(registers, *register)?.wrapping_add_signed(*offset)
            }
            CfaRule::Expression(expression) => self.evaluate(*expression, None, registers, stack)?,
        };
        let mut caller = *registers;
        caller.values[Registers::STACK] = cfa;
        let returns_to = self.fde.cie().return_address_register();
        // Where nothing is said it is still in its register, if the processor has one for it.
        let mut at = (returns_to != PC).then(|| value(registers, returns_to)).flatten();
        for (register, rule) in row.registers() {
            let found = self.apply(rule, *register, cfa, registers, stack);
            if *register == returns_to {
                at = found;
            }
            if let (Some(slot), Some(found)) = (caller.values.get_mut(usize::from(register.0)), found) {
                *slot = found;
            }
        }
        // None: it has no caller.
        caller.at = strip(at?);
        Some(caller)
    }

    /// What a register had in the caller, where that is known.
    fn apply(
        &self,
        rule: &RegisterRule<usize>,
        register: Register,
        cfa: u64,
        registers: &Registers,
        stack: Region,
    ) -> Option<u64> {
        match rule {
            RegisterRule::Undefined | RegisterRule::Architectural => None,
            RegisterRule::SameValue => value(registers, register),
            RegisterRule::Offset(offset) => stack.word(cfa.wrapping_add_signed(*offset)),
            RegisterRule::ValOffset(offset) => Some(cfa.wrapping_add_signed(*offset)),
            RegisterRule::Register(other) => value(registers, *other),
            RegisterRule::Expression(expression) => {
                stack.word(self.evaluate(*expression, Some(cfa), registers, stack)?)
            }
            RegisterRule::ValExpression(expression) => {
                self.evaluate(*expression, Some(cfa), registers, stack)
            }
            RegisterRule::Constant(value) => Some(*value),
        }
    }

    fn evaluate(
        &self,
        expression: UnwindExpression<usize>,
        initial: Option<u64>,
        registers: &Registers,
        stack: Region,
    ) -> Option<u64> {
        let Expression(code) = expression.get(&self.tables).ok()?;
        let encoding: Encoding = self.fde.cie().encoding();
        let mut evaluation = Evaluation::<Bytes, InPlace>::new_in(code, encoding);
        evaluation.set_max_iterations(1_000);
        if let Some(initial) = initial {
            evaluation.set_initial_value(initial);
        }
        let mut result = evaluation.evaluate().ok()?;
        loop {
            result = match result {
                EvaluationResult::Complete => break,
                EvaluationResult::RequiresMemory { address, size: 8, .. } => {
                    evaluation.resume_with_memory(Value::Generic(stack.word(address)?)).ok()?
                }
                EvaluationResult::RequiresRegister { register, .. } => {
                    evaluation.resume_with_register(Value::Generic(value(registers, register)?)).ok()?
                }
                _ => return None,
            };
        }
        match evaluation.as_result() {
            [Piece { location: Location::Address { address }, .. }] => Some(*address),
            [Piece { location: Location::Value { value: Value::Generic(value) }, .. }] => Some(*value),
            _ => None,
        }
    }
}

/// The column of the return address, where the processor has no register for it.
#[cfg(target_arch = "x86_64")]
const PC: Register = Register(16);
#[cfg(not(target_arch = "x86_64"))]
const PC: Register = Register(u16::MAX);

fn value(registers: &Registers, register: Register) -> Option<u64> {
    const { assert!(COUNT > Registers::STACK) };
    registers.values.get(usize::from(register.0)).copied()
}

/// A return address without its signature, which some processors keep in the upper bits (pointer authentication).
fn strip(address: u64) -> u64 {
    if cfg!(target_arch = "aarch64") { address & ((1 << 48) - 1) } else { address }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dump::maps;

    #[test]
    fn registers_that_mean_nothing_lead_nowhere_and_do_no_harm() {
        let mut rng = fastrand::Rng::with_seed(5);
        let mut modules = Modules::new();
        let local = [0_u64; 512];
        let own = local.as_ptr() as u64;
        let stack = maps::region_of(own).unwrap();
        let code = by_frame_pointer as *const () as u64;
        for _ in 0..2_000 {
            let mut value = || match rng.u32(..4) {
                0 => rng.u64(..),
                1 => code.wrapping_add(rng.u64(..1 << 20)).wrapping_sub(1 << 19),
                _ => own + 8 * rng.u64(..4096),
            };
            let registers = Registers { values: std::array::from_fn(|_| value()), at: value() };
            let mut count = 0;
            walk(registers, stack, &mut modules, |_| {
                count += 1;
                count < 64
            });
            assert!((1..=64).contains(&count));
        }
    }

    #[test]
    fn code_without_a_table_is_left_by_its_frame_pointer() {
        let frames = [0_u64, 0, 7, 4711];
        let at = frames.as_ptr() as u64;
        let mut registers = Registers { values: [0; COUNT], at: 8 };
        registers.values[Registers::STACK] = at;
        registers.values[Registers::FRAME] = at + 16;
        let mut seen = Vec::new();
        let stack = Region::listed(at, at + 32);
        walk(registers, stack, &mut Modules::new(), |frame| {
            seen.push(frame);
            true
        });
        assert_eq!(seen, [Frame { at: 8, module: None }, Frame { at: 4710, module: None }]);
    }
}
