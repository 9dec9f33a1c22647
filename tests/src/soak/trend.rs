//! A slope through points that are noisy, and how sure it is.

/// By how much the second coordinate changes for each unit of the first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Trend {
    pub(super) slope: f64,
    /// The ends of the confidence interval of 95 %.
    pub(super) low: f64,
    pub(super) high: f64,
}

/// Of the normal distribution: 95 % lie within so many standard deviations.
const DEVIATIONS: f64 = 1.96;

impl Trend {
    /// The median of the slopes between any two points, after Theil and Sen: some points that are
    /// far out change nothing, nor does a single step. The interval comes from the ranks of the
    /// slopes, by the variance of Kendall's S. `None` for less than three points.
    pub(super) fn of(points: &[(f64, f64)]) -> Option<Trend> {
        if points.len() < 3 {
            return None;
        }
        let mut slopes: Vec<f64> = points
            .iter()
            .enumerate()
            .flat_map(|(index, a)| points[index + 1..].iter().map(move |b| (a, b)))
            .filter(|(a, b)| a.0 < b.0)
            .map(|(a, b)| (b.1 - a.1) / (b.0 - a.0))
            .collect();
        slopes.sort_by(f64::total_cmp);
        let last = slopes.len().checked_sub(1)?;
        let pairs = slopes.len() as f64;
        let reach = DEVIATIONS * variance(points).sqrt();
        let at = |rank: f64| slopes[(rank.max(0.0) as usize).min(last)];
        Some(Trend {
            slope: f64::midpoint(slopes[last / 2], slopes[slopes.len() / 2]),
            low: at(((pairs - reach) / 2.0).floor()),
            high: at(((pairs + reach) / 2.0).ceil()),
        })
    }
}

/// Of Kendall's S, if there is no trend. Points with the same value say less than others.
fn variance(points: &[(f64, f64)]) -> f64 {
    let part = |count: f64| count * (count - 1.0) * (2.0 * count + 5.0);
    let mut values: Vec<f64> = points.iter().map(|point| point.1).collect();
    values.sort_by(f64::total_cmp);
    let ties: f64 = values
        .chunk_by(|a, b| a == b)
        .map(|same| part(same.len() as f64))
        .sum();
    (part(points.len() as f64) - ties) / 18.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trend(value: impl Fn(u32) -> f64) -> Trend {
        let points: Vec<(f64, f64)> = (0..40).map(|x| (f64::from(x), value(x))).collect();
        Trend::of(&points).expect("enough points")
    }

    #[test]
    fn constant_has_no_slope_and_no_doubt() {
        let flat = Trend {
            slope: 0.0,
            low: 0.0,
            high: 0.0,
        };
        assert_eq!(trend(|_| 7.0), flat);
    }

    #[test]
    fn line_has_its_slope_and_no_doubt() {
        let Trend { slope, low, high } = trend(|x| 3.0 * f64::from(x));
        assert_eq!([slope, low, high], [3.0, 3.0, 3.0]);
    }

    #[test]
    fn single_step_is_no_slope_for_certain() {
        for at in [10, 20, 30] {
            assert_eq!(trend(|x| f64::from(u32::from(x >= at))).low, 0.0, "{at}");
        }
    }

    #[test]
    fn steps_again_and_again_are_a_slope_for_certain() {
        let Trend { slope, low, .. } = trend(|x| f64::from(x / 8));
        assert!(low > 0.08 && slope > 0.1, "{slope}, at least {low}");
    }

    #[test]
    fn noise_is_no_slope_for_certain() {
        let mut random = fastrand::Rng::with_seed(19);
        let noise: Vec<f64> = (0..40).map(|_| random.f64()).collect();
        let Trend { low, high, .. } = trend(|x| noise[x as usize]);
        assert!(low < 0.0 && high > 0.0, "{low} to {high}");
    }

    #[test]
    fn slope_is_seen_through_noise_and_wild_points() {
        let mut random = fastrand::Rng::with_seed(19);
        let noise: Vec<f64> = (0..40).map(|_| random.f64()).collect();
        let wild = |x| if x % 10 == 3 { 1e6 } else { 0.0 };
        let Trend { low, high, .. } = trend(|x| 0.5 * f64::from(x) + noise[x as usize] + wild(x));
        assert!(low > 0.4 && high < 0.6, "{low} to {high}");
    }

    #[test]
    fn two_points_say_nothing() {
        assert_eq!(Trend::of(&[(0.0, 1.0), (1.0, 2.0)]), None);
    }
}
