-- Monthly figures on which early warnings are judged, by source, segment and indicator: the number of accounts, how
-- many of them have the event (or the sum of the value), and the same by balance. A segment is the whole book, a
-- product, a channel, or the joint loans of a funding partner. Ratios are summed as decimals, because such sums do not
-- depend on the order of addition.
-- noqa: disable=layout.indent
{%- set counted = {
    "share_30_plus": ("is_performing", "dpd_end > 30", "balance"),
    "roll_0_to_30": ("was_current", "state = '1-30'", "balance"),
    "first_payment_default": ("months_on_book = 2", "dpd_end > 30", "balance"),
    "mob3_30_plus": ("months_on_book = 3", "dpd_end > 30", "balance"),
} %}
{%- set figures -%}
    {%- for name, (those, hit, amount) in counted.items() %}
        count(case when {{ those }} then 1 end) as {{ name }}_accounts,
        count(case when {{ those }} and {{ hit }} then 1 end) as {{ name }}_total,
        sum(case when {{ those }} and {{ hit }} then {{ amount }} when {{ those }} then 0 end) as {{ name }}_amount,
        sum(case when {{ those }} then {{ amount }} end) as {{ name }}_amount_of,
    {%- endfor %}
        count(used) as utilisation_accounts,
        sum(used) as utilisation_total,
        sum(cast(used * used as decimal(18, 12))) as utilisation_squares,
        sum(case when used is not null then balance end) as utilisation_amount,
        sum(case when used is not null then limit_amount end) as utilisation_amount_of
{%- endset %}

{%- set sums -%}
    {%- for name in (counted | list) + ["utilisation"] %}
        {%- set whats = ["accounts", "total", "amount", "amount_of"] + (["squares"] if name == "utilisation" else []) %}
        {%- for what in whats %}
        sum({{ name }}_{{ what }}) as {{ name }}_{{ what }}{{ "," if what != "squares" }}
        {%- endfor %}
    {%- endfor %}
{%- endset %}

-- one row per joint loan and partner
with shares as (
    select * from {{ ref('int_partner_shares') }}
),

-- One row per joint loan, with all its partners as one group. Loans with the same partners are counted together,
-- because there are far fewer groups than loans.
funded as (
    select source, loan_id, string_agg(partner, chr(31) order by partner) as partners
    from shares
    group by source, loan_id
),

-- one row per group of partners and partner
partners as (
    select distinct funded.source, funded.partners, shares.partner
    from funded
    inner join shares on funded.source = shares.source and funded.loan_id = shares.loan_id
),

-- one row per loan
loans as (
    select loans.source, loans.loan_id, loans.product, loans.channel, loans.opened_on, funded.partners
    from {{ ref('stg_loans') }} as loans
    left join funded on loans.source = funded.source and loans.loan_id = funded.loan_id
),

-- one row per loan and month
months as (
    select
        months.*,
        case
            when months.is_performing and months.limit_amount > 0
                then cast({{ util('months.balance', 'months.limit_amount') }} as decimal(9, 6))
        end as used
    from (
        select
            months.source,
            months.month_on,
            months.state,
            months.dpd_end,
            months.balance,
            months.limit_amount,
            loans.product,
            loans.channel,
            loans.partners,
            not months.is_default and not {{ has_ended('months.state') }} as is_performing,
            coalesce(months.state_before = 'current', false) as was_current,
            {{ months_between('loans.opened_on', 'months.month_on') }} as months_on_book
        from {{ ref('fct_loan_months') }} as months
        inner join loans on months.source = loans.source and months.loan_id = loans.loan_id
    ) as months
),

-- one row per source, product, channel, group of partners and month
cells as (
    select
        source,
        product,
        channel,
        partners,
        month_on,
        {{ figures }}
    from months
    group by source, product, channel, partners, month_on
),

-- one row per source, segment and month, with the figures of all indicators in columns
wide as (
    select
        source,
        case when grouping(product) = 0 then 'product' when grouping(channel) = 0 then 'channel' else 'book' end
            as segment_kind,
        case when grouping(product) = 0 then product when grouping(channel) = 0 then channel else 'all' end as segment,
        month_on,
        {{ sums }}
    from cells
    group by grouping sets ((source, month_on), (source, month_on, product), (source, month_on, channel))
    union all
    select
        cells.source,
        'partner' as segment_kind,
        partners.partner as segment,
        cells.month_on,
        {{ sums }}
    from cells
    inner join partners on cells.source = partners.source and cells.partners = partners.partners
    group by cells.source, partners.partner, cells.month_on
)

{% for name in (counted | list) + ['utilisation'] -%}
select
    source,
    '{{ name }}' as indicator,
    segment_kind,
    segment,
    month_on,
    cast({{ name }}_accounts as bigint) as accounts,
    {{ stored(name ~ '_total') }} as total,
    {{ stored(name ~ ('_squares' if name == 'utilisation' else '_total')) }} as squares,
    cast({{ name }}_amount as decimal(28, 2)) as amount,
    cast({{ name }}_amount_of as decimal(28, 2)) as amount_of
from wide
where {{ name }}_accounts > 0 and segment is not null
{% if not loop.last %}union all
{% endif %}
{%- endfor %}
