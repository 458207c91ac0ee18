"""The properties that hold for any implementation of the algorithm, and the tests that claim them."""

import importlib

import pytest

# Number in the specification of the algorithm: what must hold, and `file::test` below tests/.
PROPERTIES: dict[str, tuple[str, list[str]]] = {
    "P1": ("symexp undoes symlog; symlog is odd and rising", ["nn/test_blocks::test_symlog_is_odd_rising_and_undone_by_symexp"]),
    "P2": (
        "a two-hot is at most two neighbouring weights that sum to 1 and give the scalar back",
        [
            "nn/test_distributions::test_two_hot_mean_returns_the_scalar",
            "nn/test_distributions::test_a_target_on_a_bin_takes_that_bin_alone",
        ],
    ),
    "P3": ("zero logits predict exactly 0 and cost ln 255", ["nn/test_distributions::test_a_fresh_scalar_predicts_zero_and_costs_ln_255"]),
    "P4": (
        "the gradient of the cross-entropy is softmax minus target",
        ["nn/test_distributions::test_two_hot_gradient_is_softmax_minus_target"],
    ),
    "P5": (
        "no class is impossible; the KL is 0 for equals only and finite; its two terms teach one side each",
        [
            "nn/test_distributions::test_unimix_keeps_every_class_possible",
            "nn/test_distributions::test_kl_is_zero_for_equals_positive_otherwise_and_finite_when_saturated",
            "world_model/test_kl::test_both_terms_have_the_same_value_and_teach_different_sides",
            "world_model/test_model::test_the_dynamics_term_teaches_the_prior_and_the_other_does_not",
        ],
    ),
    "P6": (
        "KL terms are at least the free nats, without gradient below them",
        ["world_model/test_kl::test_free_nats_count_a_step_and_stop_the_gradient_below"],
    ),
    "P7": (
        "samples are exactly one-hot; their gradient sums to 0 in each group",
        ["nn/test_distributions::test_samples_are_one_hot_and_their_gradient_sums_to_zero_in_each_group"],
    ),
    "P8": (
        "a reset cuts every memory",
        [
            "world_model/test_rssm::test_a_reset_cuts_memory",
            "world_model/test_rssm::test_no_gradient_crosses_a_reset",
            "world_model/test_rssm::test_with_a_reset_everywhere_each_step_stands_alone",
        ],
    ),
    "P9": (
        "chunks and order of the batch do not matter; nothing reaches back in time",
        [
            "world_model/test_rssm::test_two_chunks_are_as_good_as_one",
            "world_model/test_rssm::test_the_order_of_the_batch_does_not_matter",
            "world_model/test_rssm::test_an_observation_reaches_no_earlier_step",
            "world_model/test_rssm::test_an_action_reaches_the_step_that_it_led_to_and_none_before",
        ],
    ),
    "P10": (
        "a dreamt step is the observed one without the observation",
        ["world_model/test_rssm::test_a_dreamt_step_is_the_observed_one_without_the_observation"],
    ),
    "P11": (
        "an action of 3 counts as one of 1",
        ["world_model/test_cells::test_actions_beyond_one_count_as_one_where_the_cell_says_so"],
    ),
    "P12": (
        "the recurrent state is bounded; zero weights keep 0.7311 of it",
        [
            "world_model/test_cells::test_every_cell_keeps_the_state_bounded",
            "world_model/test_cells::test_zero_weights_keep_a_known_share_of_the_state",
        ],
    ),
    "P13": ("a block sees its own inputs only", ["nn/test_blocks::test_a_block_sees_its_own_inputs_only"]),
    "P14": (
        "λ-returns: λ = 0, λ = 1, an end, the fixed point, the mixture of n-step returns",
        [
            "actor_critic/test_returns::test_trace_zero_looks_one_step_ahead",
            "actor_critic/test_returns::test_trace_one_is_the_discounted_sum_and_the_last_value",
            "actor_critic/test_returns::test_nothing_behind_an_end_counts",
            "actor_critic/test_returns::test_the_true_value_is_a_fixed_point",
            "actor_critic/test_returns::test_it_is_the_mixture_of_n_step_returns",
        ],
    ),
    "P15": (
        "replay returns: a time limit cuts the trace, a terminal also the bootstrap, a reset everything",
        [
            "actor_critic/test_returns::test_the_time_limit_cuts_the_trace_and_keeps_the_bootstrap",
            "actor_critic/test_returns::test_a_terminal_cuts_both",
            "actor_critic/test_returns::test_what_comes_after_a_reset_never_reaches_back",
        ],
    ),
    "P16": (
        "returns are never divided by less than 1, and large ones as if they were small",
        [
            "actor_critic/test_returns::test_every_kind_is_never_below_one_and_has_no_gradient",
            "actor_critic/test_returns::test_small_returns_are_not_blown_up_and_large_ones_are_tamed",
            "actor_critic/test_returns::test_scaled_advantages_do_not_know_the_unit_of_large_rewards",
        ],
    ),
    "P17": (
        "each loss teaches its own modules",
        [
            "world_model/test_model::test_each_term_teaches_its_parts_and_no_other",
            "actor_critic/test_model::test_each_loss_teaches_its_own_network",
            "actor_critic/test_model::test_nothing_of_a_dream_reaches_the_world_model",
            "actor_critic/test_model::test_replay_loss_teaches_the_critic_and_the_features_alone",
            "stages/test_learner::test_the_replay_value_loss_reaches_the_world_model_when_it_learns",
        ],
    ),
    "P18": (
        "the optimizer: no first step, then signs, bounded and free of the gradient's scale; clipping bounds whole tensors",
        [
            "nn/test_optim::test_the_first_update_moves_nothing_but_is_remembered",
            "nn/test_optim::test_without_warmup_the_first_update_is_the_sign_of_the_gradient",
            "nn/test_optim::test_a_step_is_no_longer_than_the_normalised_gradient_can_be",
            "nn/test_optim::test_updates_do_not_depend_on_the_scale_of_the_gradient_while_nothing_is_clipped",
            "nn/test_optim::test_clipping_bounds_whole_tensor_norms",
        ],
    ),
    "P19": (
        "the slow critic is a geometric mix",
        [
            "nn/test_optim::test_blending_with_a_constant_source_is_a_geometric_mix",
            "actor_critic/test_model::test_the_slow_critic_starts_as_the_critic_and_follows_it",
        ],
    ),
    "P20": (
        "windows are contiguous, new ones come once, go on from stored latents; previous actions are those stored, updates keep the ratio",
        [
            "replay/test_sampler::test_windows_hold_the_rows_as_they_are_stored",
            "replay/test_sampler::test_prev_action_is_the_action_of_the_row_before_and_zero_where_an_episode_begins",
            "replay/test_sampler::test_prev_action_of_vectors_is_shifted_in_time_only",
            "replay/windows/test_selectors::test_each_new_window_is_drawn_exactly_once_before_any_other",
            "replay/windows/test_starts::test_latents_go_on_from_the_row_in_front",
            "stages/test_window_start::test_a_stored_state_is_the_posterior_that_the_next_window_goes_on_from",
            "stages/test_train_ratio::test_updates_keep_pace_whatever_the_strides",
        ],
    ),
    "P21": (
        "decoded images lie between black and white; a constant one costs the squared distance of all its numbers",
        [
            "world_model/test_observations::test_brightness_of_the_first_output_stays_inside_zero_and_one",
            "world_model/test_observations::test_a_constant_image_costs_the_square_of_its_distance_at_every_number",
        ],
    ),
    "P22": (
        "the official numbers of parameters",
        [
            "world_model/test_sizes::test_every_size_has_the_official_number_of_parameters",
            "world_model/test_sizes::test_the_small_walker_has_the_official_number_of_parameters",
            "world_model/test_sizes::test_a_grey_atari_screen_has_the_official_number_of_parameters",
        ],
    ),
    "P23": (
        "an update is a pure function, and everything that it depends on is saved",
        [
            "stages/test_learner::test_an_update_is_a_pure_function_of_state_batch_and_noise",
            "stages/test_learner::test_saved_and_loaded_parts_give_the_same_next_update",
            "stages/test_learner::test_everything_that_is_saved_shapes_later_updates",
            "stages/test_train_wm::test_a_stopped_and_resumed_run_learns_the_same_bits",
            "stages/test_train_ac::test_a_stopped_and_resumed_run_learns_the_same_bits",
            "stages/test_window_start::test_a_stopped_and_resumed_run_learns_the_same_bits",
            "replay/windows/test_latents::test_a_side_file_brings_back_what_was_stored",
        ],
    ),
    "P24": (
        "the bounded normal's spread and entropy stay within their bounds",
        ["nn/test_actions::test_bounded_normal_by_hand", "nn/test_actions::test_bounded_normal_stays_within_its_bounds"],
    ),
}


@pytest.mark.parametrize("number", [f"P{number}" for number in range(1, 25)])
def test_every_property_has_its_tests(number: str) -> None:
    claim, tests = PROPERTIES[number]
    assert claim
    assert tests
    for test in tests:
        file, name = test.split("::")
        module = importlib.import_module("tests." + file.replace("/", "."))
        assert callable(getattr(module, name, None)), f"{number} ({claim}): there is no {test}"
