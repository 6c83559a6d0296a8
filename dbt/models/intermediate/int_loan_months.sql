-- Loan months of every source in one shape, whatever their arrears basis. One row per loan, month and state of
-- knowledge: if something becomes known late, a month has several rows. Each row is valid from its `known_on` until its
-- `superseded_on`. The row without `superseded_on` is what is known now.
-- noqa: disable=layout.indent
{{ config(materialized='view') }}

{%- set shared -%}
    source, loan_id, month_on, known_on, superseded_on, due, paid, balance, is_default, is_written_off, is_closed
{%- endset %}

with months as (
    select
        {{ shared }},
        -- without a ledger, the days past due at the month-end are also the month's largest
        dpd as dpd_max,
        dpd as dpd_end,
        limit_amount,
        status_code,
        deferral_suspected,
        'status' as arrears_basis
    from {{ ref('int_status_loan_months') }}
    union all
    select {{ shared }}, dpd, dpd, limit_amount, status_code, deferral_suspected, 'imputed'
    from {{ ref('int_imputed_loan_months') }}
    union all
    select {{ shared }}, dpd_max, dpd_end, limit_amount, cast(null as integer), false, 'ledger'
    from {{ ref('int_ledger_loan_months') }}
)

select
    source,
    loan_id,
    month_on,
    known_on,
    superseded_on,
    dpd_max,
    dpd_end,
    due,
    paid,
    balance,
    limit_amount,
    status_code,
    {{ arrears_state('dpd_end', 'is_written_off', 'is_closed') }} as state,
    arrears_basis,
    is_default,
    deferral_suspected
from months
