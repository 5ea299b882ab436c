use super::*;

/// Some places of a column: none, single ones, runs, and places that are not there.
fn parts(count: usize) -> Vec<Runs> {
    let mut parts = vec![Runs::default(), Runs::all(count / 2), Runs::all(count + 1)];
    for (every, length) in [(7, 1), (97, 40), (1_000, 999), (5, 5)] {
        let mut runs = Runs::default();
        (every / 2..count).step_by(every).for_each(|start| runs.push(start..(start + length).min(count)));
        parts.push(runs);
    }
    parts
}

fn numbers_come_back(numbers: &[u64]) -> usize {
    let mut zstd = Zstd::new(1).unwrap();
    let mut bytes = Vec::new();
    put_numbers(&mut zstd, numbers, &mut bytes);
    let mut input = Input(&bytes);
    assert_eq!(get_numbers(&mut zstd, &mut input, numbers.len(), &Runs::all(numbers.len())).as_deref(), Ok(numbers));
    assert!(input.0.is_empty());
    for wanted in parts(numbers.len()) {
        let picked = get_numbers(&mut zstd, &mut Input(&bytes), numbers.len(), &wanted);
        assert_eq!(picked, wanted.pick(numbers));
    }
    for length in 0..bytes.len() {
        // Cut off, it is an error or (behind the last bit) the same; never a panic.
        let _ = get_numbers(&mut zstd, &mut Input(&bytes[..length]), numbers.len(), &Runs::all(numbers.len()));
    }
    bytes.len()
}

#[test]
fn numbers_of_every_size_come_back() {
    numbers_come_back(&[]);
    numbers_come_back(&[7]);
    numbers_come_back(&[u64::MAX; 100]);
    let every: Vec<u64> = (0..64).flat_map(|bit| [1 << bit, (1 << bit) - 1, u64::MAX >> bit]).collect();
    numbers_come_back(&every);
    let mut state = 1u64;
    let random: Vec<u64> = (0..5000)
        .map(|place| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state ^ state >> 29) >> (place % 64)
        })
        .collect();
    numbers_come_back(&random);
}

#[test]
fn numbers_of_a_coarse_clock_take_less() {
    let fine: Vec<u64> = (1..2000u64).map(|n| n * n * 7919 % 1_000_003).collect();
    let coarse: Vec<u64> = fine.iter().map(|n| n * 1_000).collect();
    assert!(numbers_come_back(&coarse) <= numbers_come_back(&fine) + 8);
}

#[test]
fn codes_come_back() {
    let mut zstd = Zstd::new(1).unwrap();
    for most in [1u32, 200, 70_000, u32::MAX] {
        let codes: Vec<u32> = (0..1000u32).map(|n| n.wrapping_mul(2_654_435_761) % most).collect();
        let mut bytes = Vec::new();
        put_codes(&mut zstd, &codes, &mut bytes);
        for wanted in parts(codes.len()).into_iter().chain([Runs::all(codes.len())]) {
            let picked = get_codes(&mut zstd, &mut Input(&bytes), codes.len(), &wanted);
            assert_eq!(picked, wanted.pick(&codes));
        }
    }
}

#[test]
fn texts_come_back_and_ids_take_half_a_byte_a_digit() {
    let mut zstd = Zstd::new(1).unwrap();
    let mut check = |all: Vec<Vec<u8>>| {
        let mut texts = Texts::default();
        all.iter().for_each(|text| texts.push(text));
        let mut bytes = Vec::new();
        put_texts(&mut zstd, &texts, &mut bytes);
        let back = get_texts(&mut zstd, &mut Input(&bytes), all.len(), &Runs::all(all.len())).unwrap();
        assert!(back.iter().eq(all.iter().map(Vec::as_slice)));
        for wanted in parts(all.len()) {
            let picked = get_texts(&mut zstd, &mut Input(&bytes), all.len(), &wanted);
            match wanted.check(all.len()) {
                Ok(()) => assert!(picked.unwrap().iter().eq(wanted.places().map(|place| all[place].as_slice()))),
                Err(missing) => assert_eq!(picked.unwrap_err(), missing),
            }
        }
        bytes.len()
    };
    check(vec![]);
    check(vec![vec![0xff; 9]; 40]);
    check((0..500).map(|n| format!("GET /items/{n}").into_bytes()).collect());
    check((0..100).map(|n| vec![n as u8; n]).collect());
    let ids = (0..1001u64).map(|n| format!("req-{:015x}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 4).into_bytes());
    assert!(check(ids.collect()) < 1001 * 8);
}

#[test]
fn runs_of_bytes_come_back() {
    let mut zstd = Zstd::new(1).unwrap();
    for bytes in [vec![], vec![1], vec![2; 5000], (0..5000).map(|n| (n % 7) as u8).collect(), (0..200).collect()] {
        let mut out = Vec::new();
        put_bytes(&mut zstd, &bytes, &mut out);
        assert_eq!(get_bytes(&mut zstd, &mut Input(&out), 5000), Ok(bytes.clone()));
        assert_eq!(get_bytes(&mut zstd, &mut Input(&out), bytes.len().wrapping_sub(1)).is_err(), !bytes.is_empty());
    }
}
