//! A report for programs.
use crate::report::Report;

/// One object and a newline.
pub(crate) fn render(report: &Report) -> String {
    let object = serde_json::to_string(report).expect("a report has string keys and finite numbers only");
    object + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::example;

    #[test]
    fn the_object_has_the_shape_that_was_promised() {
        let object: serde_json::Value = serde_json::from_str(&render(&example())).expect("JSON");
        assert_eq!(object["suite"], "restart");
        assert_eq!(object["machine"]["cores"], 2);
        assert_eq!(object["machine"]["node"], serde_json::Value::Null);
        assert_eq!(
            object["rows"],
            serde_json::json!([{
                "case": "kill to answer", "subject": "cluster-core", "unit": "ms",
                "median": 1.5, "min": 1.25, "max": 12.0,
            }])
        );
        assert_eq!(object["skipped"][0]["subject"], "node");
        assert_eq!(object["rounds"], 7);
    }

    #[test]
    fn the_object_is_one_line() {
        assert_eq!(render(&example()).lines().count(), 1);
    }
}
