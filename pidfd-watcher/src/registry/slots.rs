//! A table whose places are used again and whose tokens are not.

use std::num::NonZeroU32;

/// Names one thing that was put into a [`Slots`], and nothing that comes to lie in its place later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    index: u32,
    /// Never zero, so that an `Option<Token>` is no larger than a token.
    generation: NonZeroU32,
}

const FIRST_GENERATION: NonZeroU32 = NonZeroU32::MIN;

impl Token {
    /// As the 64 bits that epoll carries. Never zero.
    pub(crate) fn to_bits(self) -> u64 {
        u64::from(self.generation.get()) << 32 | u64::from(self.index)
    }

    /// `None` for what no token was made into.
    pub(crate) fn from_bits(bits: u64) -> Option<Token> {
        // The casts take just the half that `to_bits` put there.
        #[allow(clippy::cast_possible_truncation)]
        let (generation, index) = ((bits >> 32) as u32, bits as u32);
        let generation = NonZeroU32::new(generation)?;
        Some(Token { index, generation })
    }
}

/// No place: the end of the list of free ones. So it is never the index of a place either.
const NONE: u32 = u32::MAX;

#[derive(Debug)]
pub(crate) struct Slots<T> {
    places: Vec<Slot<T>>,
    free: u32,
    len: usize,
}

#[derive(Debug)]
struct Slot<T> {
    generation: NonZeroU32,
    content: Content<T>,
}

#[derive(Debug)]
enum Content<T> {
    Taken(T),
    Free { next: u32 },
}

impl<T> Slots<T> {
    pub(crate) const fn new() -> Slots<T> {
        Slots {
            places: Vec::new(),
            free: NONE,
            len: 0,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether every place that an index can name is taken.
    pub(crate) fn is_full(&self) -> bool {
        self.free == NONE && self.places.len() >= NONE as usize
    }

    /// Puts a value in. Not to be called when it [is full](Self::is_full).
    pub(crate) fn insert(&mut self, value: T) -> Token {
        self.len += 1;
        let content = Content::Taken(value);
        if let Some(slot) = self.places.get_mut(self.free as usize) {
            let index = self.free;
            if let Content::Free { next } = std::mem::replace(&mut slot.content, content) {
                self.free = next;
            }
            return Token {
                index,
                generation: slot.generation,
            };
        }
        // It is not full: the number of places is below NONE.
        #[allow(clippy::cast_possible_truncation)]
        let index = self.places.len() as u32;
        let generation = FIRST_GENERATION;
        if self.places.len() == self.places.capacity() {
            // By a quarter, where Vec would double: a watcher of many thousands is not to hold as many empty places.
            self.places.reserve_exact((self.places.len() / 4).max(8));
        }
        self.places.push(Slot {
            generation,
            content,
        });
        Token { index, generation }
    }

    pub(crate) fn get(&self, token: Token) -> Option<&T> {
        match self.places.get(token.index as usize)? {
            Slot {
                generation,
                content: Content::Taken(value),
            } if *generation == token.generation => Some(value),
            _ => None,
        }
    }

    pub(crate) fn get_mut(&mut self, token: Token) -> Option<&mut T> {
        match self.places.get_mut(token.index as usize)? {
            Slot {
                generation,
                content: Content::Taken(value),
            } if *generation == token.generation => Some(value),
            _ => None,
        }
    }

    pub(crate) fn remove(&mut self, token: Token) -> Option<T> {
        self.get(token)?;
        let slot = self.places.get_mut(token.index as usize)?;
        // A place whose generations are used up is given up: better one place lost than a token
        // that comes again.
        let next = match slot.generation.checked_add(1) {
            Some(generation) => {
                slot.generation = generation;
                std::mem::replace(&mut self.free, token.index)
            }
            None => NONE,
        };
        self.len -= 1;
        match std::mem::replace(&mut slot.content, Content::Free { next }) {
            Content::Taken(value) => Some(value),
            Content::Free { .. } => None,
        }
    }

    /// The tokens of all that is there.
    pub(crate) fn tokens(&self) -> impl Iterator<Item = Token> {
        (0..NONE).zip(&self.places).filter_map(|(index, slot)| {
            matches!(slot.content, Content::Taken(_)).then_some(Token {
                index,
                generation: slot.generation,
            })
        })
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_used_again_and_its_old_token_names_nothing() {
        let mut slots = Slots::new();
        let (a, b) = (slots.insert("a"), slots.insert("b"));
        assert_eq!(slots.remove(a), Some("a"));
        assert_eq!(slots.remove(a), None);
        let c = slots.insert("c");
        assert_eq!(c.index, a.index);
        assert_eq!(slots.get(a), None);
        assert_eq!(slots.get_mut(a), None);
        assert_eq!((slots.get(b), slots.get(c)), (Some(&"b"), Some(&"c")));
        assert_eq!(slots.tokens().collect::<Vec<_>>(), [c, b]);
        assert_eq!(slots.places.len(), 2);
    }

    #[test]
    fn a_place_whose_generations_are_used_up_is_given_up() {
        let mut slots = Slots::new();
        let first = slots.insert(1);
        slots.places[0].generation = NonZeroU32::MAX;
        let last = Token {
            generation: NonZeroU32::MAX,
            ..first
        };
        assert_eq!(slots.remove(last), Some(1));
        assert!(slots.is_empty());
        let next = slots.insert(2);
        assert_ne!(next.index, first.index);
        assert_eq!(slots.get(last), None);
    }

    #[test]
    fn bits_carry_the_whole_token() {
        for index in [0, 1, NONE - 1] {
            for generation in [NonZeroU32::MIN, NonZeroU32::MAX] {
                let token = Token { index, generation };
                assert_eq!(Token::from_bits(token.to_bits()), Some(token));
            }
        }
        assert_eq!(Token::from_bits(0), None);
    }
}
