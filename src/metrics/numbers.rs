//! Adding numbers up so that one datum holds them.

use crate::config::metric::Statistic;
use crate::ports::Numbers;

/// Most different values of a datum (CloudWatch API reference, MetricDatum).
pub(super) const VALUES_MAX: usize = 150;

/// 2^360: values beyond it, and not-numbers, are refused (CloudWatch API reference, MetricDatum).
const VALUE_MAX: f64 = f64::from_bits((1023 + 360) << 52);

/// Whether the service takes a number.
pub(super) fn is_in_range(value: f64) -> bool {
    value.abs() <= VALUE_MAX
}

/// A first number.
pub(super) fn begin(statistic: Statistic, value: f64) -> Numbers {
    match statistic {
        Statistic::Sum | Statistic::Gauge => Numbers::One(value),
        Statistic::Distribution => Numbers::Many(vec![(value, 1.0)]),
    }
}

/// One more number; false if the service would not take the result, which is then left as it was.
pub(super) fn add(numbers: &mut Numbers, statistic: Statistic, value: f64) -> bool {
    match numbers {
        Numbers::One(last) if statistic == Statistic::Gauge => *last = value,
        Numbers::One(sum) => {
            if !is_in_range(*sum + value) {
                return false;
            }
            *sum += value;
        }
        Numbers::Many(values) => match values.binary_search_by(|(v, _)| v.total_cmp(&value)) {
            Ok(at) => values[at].1 += 1.0,
            Err(at) if values.len() < VALUES_MAX => values.insert(at, (value, 1.0)),
            Err(_) => {
                let mut summary = Numbers::Summary(numbers.summary());
                let added = add(&mut summary, statistic, value);
                if added {
                    *numbers = summary;
                }
                return added;
            }
        },
        Numbers::Summary(summary) => {
            if !is_in_range(summary.sum + value) {
                return false;
            }
            summary.count += 1.0;
            summary.sum += value;
            summary.min = summary.min.min(value);
            summary.max = summary.max.max(value);
        }
    }
    true
}

/// How much room they take, in numbers.
pub(super) fn weight(numbers: &Numbers) -> usize {
    match numbers {
        Numbers::One(_) => 1,
        Numbers::Many(values) => values.len(),
        Numbers::Summary(_) => 4,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ports::Summary;

    /// What the service refuses is known: shown at both ends of the range.
    #[test]
    fn the_limit_is_two_to_the_360() {
        assert_eq!(VALUE_MAX, 2_f64.powi(360));
        for bad in [f64::NAN, f64::INFINITY, -f64::INFINITY, VALUE_MAX * 1.01] {
            assert!(!is_in_range(bad), "{bad}");
        }
        assert!(is_in_range(VALUE_MAX) && is_in_range(-VALUE_MAX) && is_in_range(0.0));
    }

    proptest! {
        /// Count, sum, least and greatest of a datum are those of the numbers put in, and it never
        /// holds more than 150 different values: any whole numbers are put in.
        #[test]
        fn nothing_is_lost_in_a_datum(put in proptest::collection::vec(-200_i32..200, 1..600)) {
            let mut numbers = begin(Statistic::Distribution, f64::from(put[0]));
            for value in &put[1..] {
                prop_assert!(add(&mut numbers, Statistic::Distribution, f64::from(*value)));
                prop_assert!(weight(&numbers) <= VALUES_MAX);
            }
            if let Numbers::Many(values) = &numbers {
                prop_assert!(values.is_sorted_by(|a, b| a.0 < b.0));
            }
            let least = f64::from(*put.iter().min().unwrap());
            let greatest = f64::from(*put.iter().max().unwrap());
            let expected = Summary {
                count: put.len() as f64,
                sum: f64::from(put.iter().sum::<i32>()),
                min: least,
                max: greatest,
            };
            prop_assert_eq!(numbers.summary(), expected);
        }
    }
}
