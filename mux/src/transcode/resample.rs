//! Any rate to that of Opus.

use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{Fft, FixedSync, Resampler as _, WindowFunction};

use super::{RATE, TranscodeError};

/// Into how many transforms a chunk is cut. Two hold the delay at 7 ms and pass 18 kHz at 44.1 kHz.
const SUB_CHUNKS: usize = 2;

/// Samples in turns of the channels, from the source's rate to 48 kHz.
pub(super) struct Resampler {
    /// `None` when the rate is right already.
    fft: Option<Fft<f32>>,
    channels: usize,
    rate: u64,
    /// Samples per channel since the start.
    taken: u64,
    given: u64,
}

impl Resampler {
    /// For chunks of `chunk` samples per channel.
    pub(super) fn new(rate: u32, chunk: u32, channels: usize) -> Result<Self, TranscodeError> {
        let whole = Self { fft: None, channels, rate: u64::from(rate), taken: 0, given: 0 };
        if rate == RATE {
            return Ok(whole);
        }
        let window = WindowFunction::BlackmanHarris2;
        let (from, to) = (rate as usize, RATE as usize);
        let fft = Fft::new_custom(from, to, chunk as usize, SUB_CHUNKS, channels, window, FixedSync::Input);
        let fft = fft.map_err(|error| TranscodeError::Encoder(error.to_string()))?;
        Ok(Self { fft: Some(fft), ..whole })
    }

    /// By how many output samples what it gave is behind what it took: those that it holds, and its delay.
    pub(super) fn behind(&self) -> u64 {
        let Some(fft) = &self.fft else { return 0 };
        let due = (self.taken * u64::from(RATE) + self.rate / 2) / self.rate;
        due.saturating_sub(self.given) + fft.output_delay() as u64
    }

    /// Appends what a chunk becomes.
    pub(super) fn process(&mut self, chunk: &[f32], out: &mut Vec<f32>) {
        let Some(fft) = &mut self.fft else {
            out.extend_from_slice(chunk);
            return;
        };
        self.taken += (chunk.len() / self.channels) as u64;
        let begin = out.len();
        let room = fft.output_frames_next();
        out.resize(begin + room * self.channels, 0.0);
        let input = InterleavedSlice::new(chunk, self.channels, chunk.len() / self.channels);
        let output = InterleavedSlice::new_mut(&mut out[begin..], self.channels, room);
        let written = match (input, output) {
            (Ok(input), Ok(mut output)) => fft.process_into_buffer(&input, &mut output, None),
            _ => return, // The sizes are right by construction.
        };
        let written = written.map_or(room, |(_, written)| written);
        out.truncate(begin + written * self.channels);
        self.given += written as u64;
    }

    /// What comes next does not continue what was.
    pub(super) fn reset(&mut self) {
        if let Some(fft) = &mut self.fft {
            fft.reset();
        }
        (self.taken, self.given) = (0, 0);
    }
}
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_heard_passes() {
        for frequency in [1_000.0, 15_000.0, 18_000.0] {
            let mut resampler = Resampler::new(44_100, 1024, 1).unwrap();
            let mut out = Vec::new();
            for chunk in 0..40 {
                let samples: Vec<f32> = (0..1024)
                    .map(|at| f64::from(chunk * 1024 + at) * frequency / 44_100.0)
                    .map(|turns| (turns * std::f64::consts::TAU).sin() as f32)
                    .collect();
                resampler.process(&samples, &mut out);
            }
            let power: f32 = out[20_000..30_000].iter().map(|sample| sample * sample).sum::<f32>() / 10_000.0;
            assert!((0.45..0.55).contains(&power), "{frequency} Hz: {power}");
        }
    }

    #[test]
    fn it_is_late_by_what_it_says() {
        for rate in [8_000, 22_050, 32_000, 44_100, 96_000] {
            let mut resampler = Resampler::new(rate, 1024, 2).unwrap();
            let mut out = Vec::new();
            for chunk in 0..100u32 {
                resampler.process(&[if chunk < 50 { 0.0 } else { 1.0 }; 2048], &mut out);
                let due = u64::from(chunk + 1) * 1024 * u64::from(RATE) / u64::from(rate);
                let held = due - out.len() as u64 / 2;
                assert!(resampler.behind() >= held && resampler.behind() - held < 6000, "{rate} {chunk}");
            }
            let rises = out.iter().step_by(2).position(|sample| *sample > 0.5).unwrap() as u64;
            let expected = 50 * 1024 * u64::from(RATE) / u64::from(rate);
            let delay = rises - expected;
            let total =
                resampler.behind() + out.len() as u64 / 2 - 100 * 1024 * u64::from(RATE) / u64::from(rate);
            assert!(delay.abs_diff(total) <= 12, "{rate}: {delay} {total}");
        }
    }
}
