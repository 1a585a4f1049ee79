use fieldmesh_dispatch::{instance::*, online::*, plan::*, search::WHOLE};
use std::time::Instant;
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let dir = &a[1];
    let secs: f64 = a[2].parse().unwrap();
    let per: f64 = a[3].parse().unwrap();
    let best =
        best_known(&std::fs::read_to_string(format!("{dir}/best-known.csv")).unwrap()).unwrap();
    let (mut gs, mut go, mut gg, mut n) = (0.0, 0.0, 0.0, 0.0);
    for (name, b) in &best {
        if !a[4].is_empty() && !name.contains(&a[4]) {
            continue;
        }
        let i = Instance::parse(&std::fs::read_to_string(format!("{dir}/{name}.txt")).unwrap())
            .unwrap();
        let dates = release_dates(
            &std::fs::read_to_string(format!("{dir}/dyn/{name}_rd_50.txt")).unwrap(),
            &i.problem,
        )
        .unwrap();
        let gap = |p: &Plan| (p.working_time() as f64 / 1e6 / b - 1.0) * 100.0;
        let t = Instant::now();
        let mut steps = 0u64;
        let p = plan_day(&i.problem, 1, || {
            steps += 1;
            ((t.elapsed().as_secs_f64() / secs) * f64::from(WHOLE)) as u32
        });
        let st = t.elapsed().as_secs_f64();
        let g = dispatch_day(&i.problem, &dates, &mut Policy::Greedy);
        let t = Instant::now();
        let (mut r, mut s) = (usize::MAX, Instant::now());
        let mut used = |round| {
            if round != r {
                r = round;
                s = Instant::now();
            }
            ((s.elapsed().as_secs_f64() / per) * f64::from(WHOLE)) as u32
        };
        let o = if per > 0.0 {
            dispatch_day(&i.problem, &dates, &mut Policy::Replan { seed: 1, used: &mut used })
        } else {
            g.clone()
        };
        println!(
            "{name} static {:.2} ({} uns, {steps} steps, {st:.1}s) greedy {:.2} ({} uns {:?}) online {:.2} ({} uns {:?}, {:.1}s)",
            gap(&p),
            p.unserved.len(),
            gap(&g),
            g.unserved.len(),
            g.unserved.iter().map(|u| u.reason).collect::<Vec<_>>(),
            gap(&o),
            o.unserved.len(),
            o.unserved.iter().map(|u| u.reason).collect::<Vec<_>>(),
            t.elapsed().as_secs_f64()
        );
        gs += gap(&p);
        go += gap(&o);
        gg += gap(&g);
        n += 1.0;
    }
    println!("MEAN static {:.2} greedy {:.2} online {:.2}", gs / n, gg / n, go / n);
}
