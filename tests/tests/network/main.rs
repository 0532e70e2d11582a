//! Real kernels' TCP and UDP through the attached program, between network namespaces: what the promise of `splitterd`
//! and `splitter` comes to for clients, backends and operators.

mod affinity;
mod balance;
mod checks;
mod choosing;
mod direct;
mod drain;
mod forwarding;
mod fragments;
mod frames;
mod interfaces;
mod jumbo;
mod leaving;
mod neighbours;
mod no_backend;
mod one_arm;
mod path_mtu;
mod probes;
mod refusals;
mod refused_starts;
mod release;
mod shifts;
mod snat;
mod stop;
mod support;
mod tags;

use std::process::ExitCode;

use splitter_tests::harness::{self, root_test};

fn main() -> ExitCode {
    harness::main(vec![
        root_test(
            "TCP and UDP of both families reach the right pool",
            forwarding::both_protocols_and_families,
        ),
        root_test("50 MB each way arrive whole", forwarding::bulk_arrives_whole),
        root_test("jumbo frames arrive whole", jumbo::jumbo_frames_arrive_whole),
        root_test("a chatty UDP flow stays through a switch", forwarding::a_chatty_udp_flow_stays),
        root_test("shares over thousands of connections", balance::shares_over_thousands_of_connections),
        root_test("client affinity keeps a client together", affinity::a_client_stays_together),
        root_test("rules go ahead of the weights", choosing::rules_go_ahead_of_the_weights),
        root_test("a preview reaches its pool", choosing::a_preview_reaches_its_pool),
        root_test("200 shifts under load cut and fail nothing", shifts::two_hundred_shifts_under_load),
        root_test(
            "a switch and a rollback are complete when they return",
            release::complete_when_they_return,
        ),
        root_test("a backend dies and comes back", checks::a_backend_dies_and_comes_back),
        root_test("a drained backend empties", drain::a_drained_backend_empties),
        root_test("an early rollback hides no connection", drain::an_early_rollback_hides_no_connection),
        root_test("the last backend is not drained", drain::the_last_backend_is_not_drained),
        root_test(
            "5,000 live connections are counted while their backend is drained",
            leaving::five_thousand_connections_are_counted,
        ),
        root_test(
            "a switch leaves a pool and waits for its deadline",
            leaving::a_switch_leaves_a_pool_and_waits_for_its_deadline,
        ),
        root_test("deadlines are replaced and dropped", leaving::deadlines_are_replaced_and_dropped),
        root_test("a deadline resets what is left", leaving::a_deadline_resets_what_is_left),
        root_test("a service without backends rejects or drops", no_backend::rejects_or_drops),
        root_test("neighbours are lost under load", neighbours::lost_under_load),
        root_test("an interface that comes back is attached", interfaces::what_comes_back_gets_the_program),
        root_test("one interface for clients and backends", one_arm::one_interface_for_all),
        root_test("snat: backends know only the balancer", snat::backends_know_only_the_balancer),
        root_test("snat: ports are used again", snat::ports_are_used_again),
        root_test("snat: without a port it is refused", snat::without_a_port_it_is_refused),
        root_test("dsr-l2: replies go straight", direct::on_the_link),
        root_test("dsr-ipip: replies go straight", direct::in_a_tunnel),
        root_test("dsr-ipip: through the other family", direct::in_a_tunnel_of_the_other_family),
        root_test("path MTU: a narrow link at the client", path_mtu::a_narrow_link_at_the_client),
        root_test("path MTU: a narrow link at the backend", path_mtu::a_narrow_link_at_the_backend),
        root_test("path MTU: a narrow way out to the backend", path_mtu::a_narrow_way_out_to_the_backend),
        root_test("path MTU: a narrow way out to the client", path_mtu::a_narrow_way_out_to_the_client),
        root_test("large datagrams are answered", fragments::large_datagrams_are_answered),
        root_test("the first fragment leads", fragments::the_first_fragment_leads),
        root_test("the address answers ping", probes::the_address_answers_ping),
        root_test("datagrams without a backend are refused", probes::datagrams_without_a_backend_are_refused),
        root_test("answers carry the tags", tags::answers_carry_the_tags),
        root_test("wrong changes change nothing", refusals::wrong_changes_change_nothing),
        root_test("a second daemon is refused", refused_starts::a_second_daemon_is_refused),
        root_test("a missing interface is refused", refused_starts::a_missing_interface_is_refused),
        root_test("a foreign program is not replaced", refused_starts::a_foreign_program_is_not_replaced),
        root_test("a wrong configuration is refused", refused_starts::a_wrong_configuration_is_refused),
        root_test("no privileges are a clear error", refused_starts::no_privileges_are_a_clear_error),
        root_test("a stopped daemon leaves nothing attached", stop::a_stopped_daemon_leaves_nothing),
        root_test("a killed daemon leaves nothing attached", stop::a_killed_daemon_leaves_nothing),
    ])
}
