//! Tests of discovered backends that are in force already.

use super::*;

#[test]
fn backends_in_force_have_precedence_over_new_ones_where_there_is_not_room_for_all() {
    let most = u16::try_from(limits::BACKENDS).expect("it is small");
    let first = many(2, most, 0);
    let in_force = config(&["tcp"])
        .with_discovered(&found(first.clone()))
        .config;
    let all = many(1, 5, 0).into_iter().chain(first.clone()).collect();
    let effective = in_force.with_discovered(&found(all));
    assert_eq!(effective.config, in_force);
    assert_eq!(effective.excluded.len(), 5);
    let reloaded = config(&["tcp"]).keeping_backends_of(&in_force);
    assert_eq!(reloaded.pools[0].backends.len(), first.len());
}

#[test]
fn a_backend_in_force_that_becomes_a_backup_of_a_steered_pool_is_drained() {
    let both = found(vec![at("10.0.0.6:80"), at("10.0.0.7:80")]);
    let in_force = config(&["tcp"]).with_discovered(&both).config;
    let changed = found(vec![
        at("10.0.0.5:80"),
        backup("10.0.0.6:80"),
        backup("10.0.0.8:80"),
    ]);
    let effective = in_force.with_discovered(&changed);
    let wanted = [at("10.0.0.5:80"), leaving("10.0.0.6:80")];
    assert_eq!(effective.config.pools[0].backends, wanted);
    let excluded: Vec<_> = effective
        .excluded
        .iter()
        .map(|one| one.address.port())
        .collect();
    assert_eq!(
        excluded.len(),
        2,
        "both are named: {:?}",
        effective.excluded
    );
}
