//! The cases, by what they are about.

mod durable;
mod keys;
mod leases;
mod order;
mod poison;
mod producers;

use seaworthy_engine::channel::kind::Promise;
use seaworthy_engine::process::{OnPoison, Order};

use super::Case;
use Promise::{
    BlockKey, BusinessKeys, DeadLetters, Durable, Epochs, Extend, Floors, Generations, Groups, KeyOrder, Leases,
    MaxAckPending, MaxDeliver, Numbers, ParkKey, Retry, StrictOrder,
};

/// A case by its function: name, needs, sentence, and what it changes in the options.
macro_rules! case {
    ($module:ident :: $name:ident, [$($need:ident),+], $says:literal) => {
        case!($module::$name, [$($need),+], $says, |_, _| {})
    };
    ($module:ident :: $name:ident, [$($need:ident),+], $says:literal, $options:expr) => {
        Case {
            name: stringify!($name),
            says: $says,
            needs: &[$($need),+],
            options: $options,
            run: |setting| Box::pin($module::$name(setting)),
        }
    };
}

/// All cases, in the order in which they run.
pub const CASES: &[Case] = &[
    case!(
        producers::stored_once_in_order,
        [Numbers],
        "what a producer was told is held is delivered once, in its order, byte for byte"
    ),
    case!(
        producers::repeats_are_left_out,
        [Numbers],
        "packets that are held already are left out, and the rest of their batch is stored"
    ),
    case!(
        producers::gaps_are_refused,
        [Numbers],
        "a batch behind a gap is refused with what comes next, and stores nothing"
    ),
    case!(
        producers::repeats_after_the_ack_are_left_out,
        [Numbers],
        "what every group has acked is still known as held"
    ),
    case!(
        producers::publishes_fly,
        [Numbers],
        "publishes that are under way together are stored in the order in which they were made"
    ),
    case!(producers::too_much_is_refused, [Numbers], "a batch beyond the limits is refused, and stores nothing"),
    case!(producers::producers_are_apart, [Numbers, Epochs], "each producer has numbers and epochs of its own"),
    case!(producers::strangers_are_turned_away, [Numbers], "who has no link to the channel neither opens nor joins"),
    case!(
        producers::new_epochs_fence_old_ones,
        [Epochs],
        "once a newer epoch is open, nothing of the older one's hold is stored"
    ),
    case!(
        producers::old_epochs_do_not_open,
        [Epochs],
        "an epoch older than one that was opened is refused, with the one that holds"
    ),
    case!(
        producers::numbers_count_on,
        [Epochs, Numbers],
        "a new epoch goes on where the old one was, and packets keep the epoch in which they entered"
    ),
    case!(
        producers::an_epoch_opens_again,
        [Epochs, Numbers],
        "the same epoch may be opened again, and tells what is held"
    ),
    case!(
        keys::late_retries_are_left_out,
        [BusinessKeys],
        "a business key with the same payload is stored once, whoever sends it"
    ),
    case!(keys::keys_outlive_the_ack, [BusinessKeys], "a business key is known after its packet was acked"),
    case!(
        keys::conflicts_are_dead_letters,
        [BusinessKeys, DeadLetters],
        "a business key with another payload is a dead letter, and what it came with first is delivered"
    ),
    case!(
        keys::conflicts_change_nothing,
        [BusinessKeys, DeadLetters],
        "after a conflict the key still means its first payload"
    ),
    case!(
        keys::keys_end_with_the_horizon,
        [BusinessKeys],
        "a business key is forgotten once its horizon has passed",
        |options, beat_ns| {
            options.dedup_horizon_ns = 20 * beat_ns;
        }
    ),
    case!(
        keys::no_packet_is_a_dead_letter,
        [DeadLetters],
        "bytes that are no packet are a dead letter, and stop nothing"
    ),
    case!(leases::groups_each_see_everything, [Groups], "every group is delivered every packet"),
    case!(
        leases::members_compete,
        [Groups, Leases],
        "each packet goes to one member of a group, and all of them get some"
    ),
    case!(leases::groups_settle_apart, [Groups, Floors], "what one group settles moves no other group's floor"),
    case!(leases::held_packets_are_nobody_elses, [Leases], "a packet under lease is delivered to nobody else"),
    case!(
        leases::expired_leases_are_delivered_again,
        [Leases],
        "a lease ends after ack_wait, not before, and its packet is delivered once more"
    ),
    case!(leases::the_dead_are_inherited, [Leases], "what a member held that is gone goes to another"),
    case!(leases::stale_leases_settle_nothing, [Leases], "who lost a lease is fenced, and its settle changes nothing"),
    case!(
        leases::only_holders_settle,
        [Leases],
        "a settle by another member than the holder is fenced, and changes nothing"
    ),
    case!(leases::settles_repeat, [Leases], "to say an ack again is fine"),
    case!(
        leases::settles_are_judged_one_by_one,
        [Leases],
        "a settle of several packets takes effect for those that are held, and for no others"
    ),
    case!(leases::the_future_is_not_settled, [Leases], "what was not granted yet can't be settled"),
    case!(leases::who_forgot_frees, [Leases], "a member that comes back without its packets frees them at once"),
    case!(
        leases::who_holds_on_goes_on,
        [Leases],
        "a member that comes back with its packets keeps them under their lease"
    ),
    case!(
        leases::what_is_over_is_told,
        [Leases],
        "a member that comes back is told which of its leases are over, however many"
    ),
    case!(leases::newer_sessions_end_older, [Leases], "a member's newer session ends the older"),
    case!(leases::credits_bound, [Leases], "a member holds no more than it wants"),
    case!(
        leases::max_ack_pending_bounds,
        [MaxAckPending],
        "the members of a group hold no more than max_ack_pending together",
        |options, _| {
            options.max_ack_pending = 3;
        }
    ),
    case!(leases::generations_grow, [Generations], "each join begins a greater generation, and all members hear of it"),
    case!(
        leases::stale_generations_settle_nothing,
        [Generations],
        "a settle in an older generation is fenced and changes nothing; in the new one it may be said again"
    ),
    case!(leases::floors_follow_settles, [Floors], "a floor covers what is settled without a gap, and nothing else"),
    case!(leases::floors_only_grow, [Floors], "no word of a session or of the next one tells a lower floor"),
    case!(
        leases::retries_wait,
        [Retry],
        "a packet that was given back comes again after the delay that was asked for, not before"
    ),
    case!(
        leases::retries_come_at_once,
        [Retry],
        "a packet that was given back with a delay of 0 comes again at once",
        |options, beat_ns| {
            (options.backoff_ns, options.backoff_max_ns) = (10 * beat_ns, 10 * beat_ns);
        }
    ),
    case!(
        leases::retries_back_off,
        [Retry],
        "without a delay, a packet waits longer each time that it is given back",
        |options, beat_ns| {
            (options.backoff_ns, options.backoff_max_ns) = (4 * beat_ns, 16 * beat_ns);
        }
    ),
    case!(leases::extensions_hold, [Extend], "a lease that is extended in time does not end"),
    case!(leases::extensions_end, [Extend], "an extended lease ends after ack_wait, too"),
    case!(
        poison::rejections_are_dead_letters,
        [DeadLetters],
        "a rejected packet is a dead letter with the member's reason, and is delivered no more"
    ),
    case!(
        poison::rejections_repeat,
        [DeadLetters],
        "to say a rejection again is fine, and makes no second dead letter"
    ),
    case!(
        poison::deliveries_are_bounded,
        [MaxDeliver, DeadLetters],
        "a packet is delivered max_deliver times, and then is a dead letter",
        |options, _| {
            options.max_deliver = Some(3);
        }
    ),
    case!(
        poison::retries_are_deliveries,
        [MaxDeliver, DeadLetters, Retry],
        "giving a packet back counts as a delivery",
        |options, _| {
            options.max_deliver = Some(2);
        }
    ),
    case!(
        poison::last_deliveries_may_settle,
        [MaxDeliver, DeadLetters],
        "what is acked on its last delivery is no poison",
        |options, _| {
            options.max_deliver = Some(2);
        }
    ),
    case!(
        poison::dead_letters_move_the_floor,
        [MaxDeliver, Floors],
        "a packet that was given up is settled",
        |options, _| {
            options.max_deliver = Some(2);
        }
    ),
    case!(
        poison::the_key_goes_on,
        [MaxDeliver, KeyOrder, DeadLetters],
        "with on_poison: dlq, later packets of a poison's key are delivered",
        |options, beat_ns| {
            poison::keyed(options, beat_ns, OnPoison::Dlq);
        }
    ),
    case!(
        poison::parked_keys_are_dead_letters,
        [ParkKey, DeadLetters],
        "with park_key, all later packets of a poison's key are dead letters; other keys go on",
        |options, beat_ns| {
            poison::keyed(options, beat_ns, OnPoison::ParkKey);
        }
    ),
    case!(
        poison::blocked_keys_stand,
        [BlockKey, DeadLetters, Floors],
        "with block_key, a poison and its key stand, and are not given up; other keys go on",
        |options, beat_ns| {
            poison::keyed(options, beat_ns, OnPoison::BlockKey);
        }
    ),
    case!(order::unordered_packets_flow, [Retry], "with no order, a packet that waits holds up no other"),
    case!(
        order::a_key_is_one_members,
        [KeyOrder],
        "all leases of a key are one member's at a time, in order",
        |options, _| {
            options.order = Order::Key;
        }
    ),
    case!(
        order::a_key_waits_for_its_first,
        [KeyOrder],
        "while a packet of a key is held, the later ones go to nobody else; other keys flow",
        |options, _| {
            options.order = Order::Key;
        }
    ),
    case!(
        order::a_key_comes_again_in_order,
        [KeyOrder, Retry],
        "a packet that is given back takes the later ones of its key with it, and they come again in order",
        |options, _| {
            options.order = Order::Key;
        }
    ),
    case!(order::other_keys_flow, [KeyOrder, Retry], "a key that waits holds up no other key", |options, _| {
        options.order = Order::Key;
    }),
    case!(
        order::strict_is_one_line,
        [StrictOrder, Retry],
        "with order: strict, all packets are one member's at a time, and nothing passes a packet that waits",
        |options, _| {
            options.order = Order::Strict;
        }
    ),
    case!(
        durable::packets_outlive_a_crash,
        [Durable, Numbers],
        "what a producer was told is held is delivered after a crash"
    ),
    case!(
        durable::numbers_outlive_a_crash,
        [Durable, Numbers],
        "after a crash, what is held is known, and repeats are left out"
    ),
    case!(
        durable::epochs_outlive_a_crash,
        [Durable, Epochs],
        "an epoch that was opened fences older ones after a crash"
    ),
    case!(
        durable::business_keys_outlive_a_crash,
        [Durable, BusinessKeys, DeadLetters],
        "a business key is known after an ack and a crash: its repeat is left out, another payload a conflict"
    ),
    case!(
        durable::settles_outlive_a_crash,
        [Durable, Leases],
        "what was answered as settled is not delivered after a crash"
    ),
    case!(durable::floors_outlive_a_crash, [Durable, Floors], "a floor that was told is not lower after a crash"),
    case!(durable::generations_outlive_a_crash, [Durable, Generations], "generations go on growing over a crash"),
    case!(
        durable::leases_end_with_a_crash,
        [Durable, Leases],
        "what was held at a crash is delivered again, and settles by what was known before change nothing"
    ),
    case!(
        durable::crashes_count_as_deliveries,
        [Durable, MaxDeliver, DeadLetters],
        "what was in flight at a crash was delivered once more: max_deliver bounds it, too",
        |options, _| {
            options.max_deliver = Some(2);
        }
    ),
    case!(
        durable::dead_letters_outlive_a_crash,
        [Durable, DeadLetters],
        "a rejection that was answered is a dead letter after a crash"
    ),
    case!(
        durable::parked_keys_stay_parked,
        [Durable, ParkKey, DeadLetters],
        "a key that was parked is parked after a crash",
        |options, beat_ns| {
            poison::keyed(options, beat_ns, OnPoison::ParkKey);
        }
    ),
    case!(
        durable::blocked_keys_stay_blocked,
        [Durable, BlockKey],
        "a key that stood stands after a crash",
        |options, beat_ns| {
            poison::keyed(options, beat_ns, OnPoison::BlockKey);
        }
    ),
    case!(
        durable::all_outlives_a_stop,
        [Durable, Numbers, Epochs, Leases],
        "a stop in good order loses no packet, number, epoch or settle"
    ),
];
