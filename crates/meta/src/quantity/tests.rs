use expect_test::{Expect, expect};

use super::{Format, Quantity};

fn table(inputs: &[&str], expected: Expect) {
    let lines: Vec<String> = inputs
        .iter()
        .map(|input| match Quantity::parse(input) {
            Ok(quantity) => format!(
                "{input} -> {quantity} value={} milli={}",
                quantity.value(),
                quantity.milli_value()
            ),
            Err(error) => format!("{input} -> {error:?}"),
        })
        .collect();
    expected.assert_eq(&lines.join("\n"));
}

#[test]
fn canonical_form() {
    table(
        &[
            "0",
            "0m",
            "-0",
            "1",
            "1000m",
            "1500m",
            "0.5",
            ".5",
            "1.",
            "100n",
            "0.1n",
            "1001u",
            "1024",
            "1Ki",
            "1024Ki",
            "1.5Gi",
            "0.5Ki",
            "0.1Mi",
            "1000Ki",
            "12e6",
            "12E6",
            "1e-3",
            "1e3",
            "1E",
            "123456789G",
            "+5",
            "-5Mi",
            "-1.5",
            "007",
            "8Ei",
            "1000000k",
            "999999999999999999999999999",
        ],
        expect![[r#"
            0 -> 0 value=0 milli=0
            0m -> 0 value=0 milli=0
            -0 -> 0 value=0 milli=0
            1 -> 1 value=1 milli=1000
            1000m -> 1 value=1 milli=1000
            1500m -> 1500m value=2 milli=1500
            0.5 -> 500m value=1 milli=500
            .5 -> 500m value=1 milli=500
            1. -> 1 value=1 milli=1000
            100n -> 100n value=1 milli=1
            0.1n -> 1n value=1 milli=1
            1001u -> 1001u value=1 milli=2
            1024 -> 1024 value=1024 milli=1024000
            1Ki -> 1Ki value=1024 milli=1024000
            1024Ki -> 1Mi value=1048576 milli=1048576000
            1.5Gi -> 1536Mi value=1610612736 milli=1610612736000
            0.5Ki -> 512 value=512 milli=512000
            0.1Mi -> 104857600m value=104858 milli=104857600
            1000Ki -> 1000Ki value=1024000 milli=1024000000
            12e6 -> 12e6 value=12000000 milli=12000000000
            12E6 -> 12e6 value=12000000 milli=12000000000
            1e-3 -> 1e-3 value=1 milli=1
            1e3 -> 1e3 value=1000 milli=1000000
            1E -> 1E value=1000000000000000000 milli=9223372036854775807
            123456789G -> 123456789G value=123456789000000000 milli=9223372036854775807
            +5 -> 5 value=5 milli=5000
            -5Mi -> -5Mi value=-5242880 milli=-5242880000
            -1.5 -> -1500m value=-2 milli=-1500
            007 -> 7 value=7 milli=7000
            8Ei -> 9223372036854775807 value=9223372036854775807 milli=9223372036854775807
            1000000k -> 1G value=1000000000 milli=1000000000000
            999999999999999999999999999 -> 999999999999999999999999999 value=9223372036854775807 milli=9223372036854775807"#]],
    );
}

#[test]
fn refused() {
    table(
        &[
            "", "-", "a", "1a", "1ki", "1mi", "1i", "1 Mi", " 1", "1.2.3", "1e", "1e+", "Mi", ".",
            "0x1", "1e40", "1eee3",
        ],
        expect![[r#"
             -> Format
            - -> Format
            a -> Format
            1a -> Format
            1ki -> Suffix
            1mi -> Suffix
            1i -> Suffix
            1 Mi -> Format
             1 -> Format
            1.2.3 -> Format
            1e -> Suffix
            1e+ -> Suffix
            Mi -> Format
            . -> Format
            0x1 -> Format
            1e40 -> Numeric
            1eee3 -> Suffix"#]],
    );
}

#[test]
fn arithmetic_and_order() {
    let parse = |text| Quantity::parse(text).expect("a quantity");
    assert_eq!(parse("1024Ki"), parse("1Mi"));
    assert!(parse("1") > parse("999m"));
    assert!(parse("1Gi") > parse("1G"));
    assert_eq!((parse("100m") + parse("900m")).to_string(), "1");
    assert_eq!((Quantity::ZERO + parse("1Ki")).to_string(), "1Ki");
    assert_eq!((parse("1Mi") - parse("512Ki")).to_string(), "512Ki");
    assert_eq!((-parse("1Mi")).to_string(), "-1Mi");
    assert_eq!(Quantity::from_milli(1, Format::DecimalSi).to_string(), "1m");
}

#[test]
fn sums_at_the_end_of_all_numbers_are_capped() {
    let mut least = Quantity::ZERO;
    for _ in 0..3 {
        least -= Quantity::parse("1e29").unwrap();
    }
    assert_eq!(least.value(), i64::MIN);
    let most = -least;
    assert_eq!(most.value(), i64::MAX);
    assert!(Quantity::parse(&most.to_string()).is_ok());
    assert!(most > Quantity::ZERO && least < Quantity::ZERO);
    assert_eq!((most + most).cmp(&most), std::cmp::Ordering::Equal);
    // The longest fractions and the largest units.
    let parsed = Quantity::parse("8.9999999999999999999999999Ei").unwrap();
    assert_eq!(parsed.value(), i64::MAX);
}

#[test]
fn reads_numbers_as_well_as_text() {
    let list: Vec<Quantity> = serde_json::from_str(r#"["250m", 2, 0.5]"#).expect("quantities");
    let text = serde_json::to_string(&list).expect("json");
    assert_eq!(text, r#"["250m","2","500m"]"#);
}

#[test]
fn whatever_parses_displays_as_what_parses_the_same() {
    const PIECES: &[&str] = &[
        "0",
        "1",
        "9",
        "512",
        "1024",
        "000",
        ".",
        "-",
        "+",
        "e",
        "E",
        "Ki",
        "Ei",
        "m",
        "n",
        "k",
        "12345678901234567890",
    ];
    let mut random = fastrand::Rng::with_seed(7);
    let mut parsed = 0;
    for _ in 0..50_000 {
        let text: String = (0..random.usize(1..7))
            .map(|_| PIECES[random.usize(..PIECES.len())])
            .collect();
        if let Ok(quantity) = Quantity::parse(&text) {
            parsed += 1;
            let again = Quantity::parse(&quantity.to_string());
            assert_eq!(again, Ok(quantity), "{text} {quantity}");
            assert_eq!(quantity - quantity, Quantity::ZERO);
            assert!(quantity.value().unsigned_abs() <= quantity.milli_value().unsigned_abs());
        }
    }
    assert!(parsed > 1000, "{parsed}");
}
